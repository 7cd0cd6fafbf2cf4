"""Figures as inline SVG: drawn by matplotlib, coloured by the page's style sheet, each in a wide and a narrow cut."""
