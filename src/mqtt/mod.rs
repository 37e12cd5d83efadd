//! The service over MQTT 5.
