"""Storage on disk: events, scores, embeddings and clips, and queries for them."""
