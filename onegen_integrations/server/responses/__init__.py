"""`/v1/responses`: what is asked, what is answered, what is kept, and the routes.

An answer searches only where the request has the tool `file_search`, as OpenAI's clients expect;
the index that the server was given at its start is the vector store `vs_index`.
"""
