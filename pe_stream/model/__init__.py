"""The model: checkpoints, prompts and the engine. Only this room and workbench import torch."""
