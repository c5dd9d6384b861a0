"""What is done with notebooks: running, exporting, handing out, publishing."""
