"""Labels: from the reports and tables that people hand over to values in the store."""
