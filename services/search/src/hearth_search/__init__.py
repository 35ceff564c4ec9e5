"""A search server for language models: the documents of the workspace, or a web search service."""
