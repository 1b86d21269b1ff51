"""`POST /v1/chat/completions`: what is asked, what is answered, and the route."""
