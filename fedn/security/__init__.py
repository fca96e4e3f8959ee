"""Who may come in: tokens today; certificates, roles and signatures come here too."""
