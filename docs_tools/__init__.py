"""What makes the pages of docs/ and results/ from recorded runs and from the product itself."""
