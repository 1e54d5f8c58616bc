"""Notifications: messages to people and other services about what was heard.

Each has a thread and a bounded queue of its own, so that none holds up another, or the daemon.
"""

from pe_stream.outputs.notifications.notifications import Notifications, describe, send_test
from pe_stream.outputs.notifications.services import Notification, Service, service

__all__ = ["Notification", "Notifications", "Service", "describe", "send_test", "service"]
