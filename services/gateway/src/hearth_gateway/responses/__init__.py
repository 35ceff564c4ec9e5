"""/v1/responses: OpenAI's other resource for answers, which keeps conversations, on the same tool loop."""
