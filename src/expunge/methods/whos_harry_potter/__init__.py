"""Who's Harry Potter?: the method, and the labels that it trains on, with the stages that make them."""

from expunge.methods.whos_harry_potter.method import WhosHarryPotter

__all__ = ["WhosHarryPotter"]
