"""Drawings as SVG, made from numbers alone.

A chart is an outer ``<svg>`` without a ``viewBox``, whose text stands at percentages, and an inner
one with ``preserveAspectRatio="none"``, whose lines stretch with the page. So text keeps its size,
at any width and without a script. All geometry is in attributes, because the pages' security
policy allows no style attribute.
"""
