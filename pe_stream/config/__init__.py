"""Settings of the daemon: what may be configured, its defaults and bounds, its JSON Schema.

The keys and their order are a contract; `pe_stream.config.file` reads them from YAML. A check
sits at the key it belongs to, so that one pass finds as many problems as there are.
"""

from pe_stream.config.clips import ClipSettings
from pe_stream.config.history import HistorySettings
from pe_stream.config.home_assistant import HomeAssistantSettings
from pe_stream.config.labels import DEFAULT_THRESHOLD, OFF_RATIO, LabelSettings, ScheduleSettings
from pe_stream.config.levels import LevelSettings
from pe_stream.config.metrics import MetricsSettings
from pe_stream.config.model import ModelSettings
from pe_stream.config.mqtt import PASSWORD_VARIABLE, MqttSettings, TlsSettings
from pe_stream.config.notifications import SIGNATURE, NotificationSettings, shown
from pe_stream.config.pictures import PictureSettings
from pe_stream.config.search import SearchSettings
from pe_stream.config.second_opinion import SecondOpinionSettings
from pe_stream.config.settings import Settings, config_schema, default_node
from pe_stream.config.sources import SourceSettings
from pe_stream.config.store import StoreSettings
from pe_stream.config.times import HoursSettings, LocationSettings
from pe_stream.config.web import WebSettings

__all__ = [
    "DEFAULT_THRESHOLD",
    "OFF_RATIO",
    "PASSWORD_VARIABLE",
    "SIGNATURE",
    "ClipSettings",
    "HistorySettings",
    "HomeAssistantSettings",
    "HoursSettings",
    "LabelSettings",
    "LevelSettings",
    "LocationSettings",
    "MetricsSettings",
    "ModelSettings",
    "MqttSettings",
    "NotificationSettings",
    "PictureSettings",
    "ScheduleSettings",
    "SearchSettings",
    "SecondOpinionSettings",
    "Settings",
    "SourceSettings",
    "StoreSettings",
    "TlsSettings",
    "WebSettings",
    "config_schema",
    "default_node",
    "shown",
]
