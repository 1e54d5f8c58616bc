"""pe_stream: an always-on daemon that listens and tells the house what it hears."""
