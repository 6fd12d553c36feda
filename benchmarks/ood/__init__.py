"""The study of doubt on images: the data, the networks, the methods, and how they are judged."""
