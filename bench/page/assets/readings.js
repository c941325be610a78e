"use strict";
// What is read off the points: measured ones only, nothing between them and nothing beyond.

const isTrusted = (point) => point.status !== "disturbed" && point.speed !== null && point.delta_score !== null;

// The fastest point that loses at most this much quality, null where there is none; of two equally fast, the better.
function fastestWithin(points, loss) {
  return bestOf(points.filter((point) => isTrusted(point) && -point.delta_score <= loss), "speed", "delta_score");
}

// The point of highest quality that is at least so many times as fast as the unmerged model; of two equally good, the
// faster.
function bestAtSpeed(points, speed) {
  return bestOf(points.filter((point) => isTrusted(point) && point.speed >= speed), "delta_score", "speed");
}

function bestOf(points, first, second) {
  return points.reduce((best, point) => {
    if (best === null || point[first] > best[first]) return point;
    return point[first] === best[first] && point[second] > best[second] ? point : best;
  }, null);
}
