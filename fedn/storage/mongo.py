"""The state store of a deployment: a server that speaks the MongoDB wire protocol."""
