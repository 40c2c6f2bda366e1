// Search over the semantic IDs of a catalog: the trie as flat arrays, scores of items folded up it, and beam search.

/** Prefix tree over semantic IDs. Items are sorted by their codes, so the children of a node, and the items below it,
 * are contiguous: a node is a number, and at the last level it is the rank of its item. */
export class Trie {
  /** @param {(number[]|null)[]} codes A row of codes per item, null if removed; item i, from 1, is row i - 1. */
  constructor(codes) {
    const compare = (a, b) => codes[a].findIndex((code, level) => code !== codes[b][level]);
    const order = Array.from(codes.keys()).filter((row) => codes[row]);
    const numLevels = codes[order[0]].length;
    order.sort((a, b) => {
      const level = compare(a, b);
      return level < 0 ? a - b : codes[a][level] - codes[b][level];
    });
    this.leafItems = Int32Array.from(order, (row) => row + 1);
    // the first level at which each leaf differs from the one before it
    const differs = order.map((row, leaf) => (leaf ? compare(order[leaf - 1], row) : 0));
    let above = [0, order.length]; // first leaves of the parents; at first the root's
    this.levels = Array.from({ length: numLevels }, (_, level) => {
      const firstLeaf = [...differs.keys()].filter((leaf) => differs[leaf] <= level);
      const nodeOf = new Map(firstLeaf.map((leaf, node) => [leaf, node]));
      const firstChild = above.map((leaf) => nodeOf.get(leaf) ?? firstLeaf.length);
      const codesHere = firstLeaf.map((leaf) => codes[order[leaf]][level]);
      above = [...firstLeaf, order.length];
      return { codes: Int32Array.from(codesHere), firstLeaf: Int32Array.from(above), firstChild: Int32Array.from(firstChild) };
    });
  }

  /** Folds scores of items: for each level the logarithm of the sum of the exponentials below each node. */
  fold(scores) {
    const leaves = Float64Array.from(this.leafItems, (item) => scores[item - 1]);
    return this.levels.map(({ codes, firstLeaf }) =>
      Float64Array.from(codes, (_, node) => logSumExp(leaves.subarray(firstLeaf[node], firstLeaf[node + 1]))),
    );
  }

  /** Nodes from the root to an item, one per level. */
  pathOf(item) {
    const leaf = this.leafItems.indexOf(item);
    return this.levels.map(({ firstLeaf }) => lastAtMost(firstLeaf, leaf));
  }
}

/**
 * Beam search: keeps the best prefixes of each length.
 * @param {Trie} trie The catalog.
 * @param {number} numBeams Number of prefixes that are kept.
 * @param {(level: number, node: number, parent: number) => number} logProb Logarithm of the probability of a node after
 *   its parent, a node of the level above; at level 0 the parent is the root, node 0.
 * @returns {{item_id: number, score: number, codes: number[]}[]} Items, best first.
 */
export function beamSearch(trie, numBeams, logProb) {
  let beams = [{ node: 0, score: 0, codes: [] }];
  trie.levels.forEach(({ codes, firstChild }, level) => {
    const found = [];
    for (const { node: parent, score, codes: before } of beams) {
      for (let node = firstChild[parent]; node < firstChild[parent + 1]; node += 1) {
        const sum = score + logProb(level, node, parent);
        if (sum > -Infinity) found.push({ node, score: sum, codes: [...before, codes[node]] });
      }
    }
    beams = found.sort((a, b) => b.score - a.score).slice(0, numBeams);
  });
  return beams.map(({ node, score, codes }) => ({ item_id: trie.leafItems[node], score, codes }));
}

/** Probabilities of codes from folded scores of items: what lies below a node, as a share of what lies below its parent. */
export function foldedLogProb(folded) {
  const root = logSumExp(folded[0]);
  return (level, node, parent) => folded[level][node] - (level ? folded[level - 1][parent] : root);
}

function logSumExp(numbers) {
  const largest = numbers.reduce((most, number) => Math.max(most, number), -Infinity);
  if (largest === -Infinity) return largest;
  return largest + Math.log(numbers.reduce((sum, number) => sum + Math.exp(number - largest), 0));
}

/** Place of the last number that is at most a value, in ascending numbers. */
function lastAtMost(numbers, value) {
  let [first, last] = [0, numbers.length];
  while (last - first > 1) {
    const middle = (first + last) >> 1;
    if (numbers[middle] <= value) first = middle;
    else last = middle;
  }
  return first;
}
