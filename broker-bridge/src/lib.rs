//! The bridge's shell: MQTT endpoint, HTTP, database, certificates and the command line.
