"""The answer first: one view of a result behind the page, the PDF, the terminal, Markdown and a notebook."""
