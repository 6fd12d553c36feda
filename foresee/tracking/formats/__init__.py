"""Files of detections, of tracks and of truth: MOTChallenge, KITTI, and tables of positions."""
