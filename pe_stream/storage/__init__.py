"""What is kept on disk: events, scores, embeddings and clips, and how they are found."""
