"""Who is told of events: MQTT, Home Assistant, notifications, metrics."""
