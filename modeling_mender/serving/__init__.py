"""Serve recommenders over HTTP on Ray Serve (extra: serve), and as tools for agents over MCP (extra: mcp)."""
