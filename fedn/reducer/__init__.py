"""The reducer: REST and dashboard, discovery, sessions and rounds, the model trail."""
