"""What hears: checkpoints, prompts and the engine. Only this package imports torch."""
