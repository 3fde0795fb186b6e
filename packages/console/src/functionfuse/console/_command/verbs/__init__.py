"""The verbs, each in a module of its own, which is imported when the verb is used."""
