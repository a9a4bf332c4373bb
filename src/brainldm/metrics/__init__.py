"""Arrays in, numbers out: distances between sets, similarity of images, agreement of measures."""
