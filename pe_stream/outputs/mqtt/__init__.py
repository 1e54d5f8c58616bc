"""MQTT out and in: events, states and health to the broker, `set` commands from it.

Publisher  the thread that keeps a connection and delivers
Outbox     what is to be delivered, and in which order
Connector  makes connections; Connection is one, and has words for why it ended
"""

from pe_stream.outputs.mqtt.commands import SetCommand, parse_set
from pe_stream.outputs.mqtt.connector import probe
from pe_stream.outputs.mqtt.publisher import Publisher
from pe_stream.outputs.mqtt.trial import try_out

__all__ = ["Publisher", "SetCommand", "parse_set", "probe", "try_out"]
