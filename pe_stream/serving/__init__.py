"""An engine on another machine: what is said on the way, who answers, and who asks."""
