"use strict";
// Which patches are one token, from the pairs of every block: [first of a group that joins, first of the group it joins
// or -1 where it is dropped, ...].

// The first token of each one's group after a number of blocks, -1 where it was dropped.
function groupsAfter(pairs, numTokens, block) {
  const next = Array.from({ length: numTokens }, (_, token) => token);
  for (const flat of pairs.slice(0, block)) {
    for (let i = 0; i < flat.length; i += 2) next[flat[i]] = flat[i + 1];
  }
  return next.map((_, token) => {
    let first = token;
    while (first >= 0 && next[first] !== first) first = next[first];
    return first;
  });
}

// Whether each token's group joined another in exactly this block, or was dropped in it.
function movedAt(pairs, numTokens, block) {
  if (block < 1) return new Array(numTokens).fill(false);
  const before = groupsAfter(pairs, numTokens, block - 1);
  const after = groupsAfter(pairs, numTokens, block);
  return after.map((first, token) => first !== before[token]);
}

// The mean of its group's cells for every patch, null where it was dropped.
function groupMeans(cells, groups) {
  const sums = new Map();
  groups.forEach((first, patch) => {
    const [sum, count] = sums.get(first) || [0, 0];
    sums.set(first, [sum + cells[patch], count + 1]);
  });
  return groups.map((first) => (first < 0 ? null : sums.get(first)[0] / sums.get(first)[1]));
}
