/**
 * Building the tree of RFC 6962: its perfect subtrees, which never change once they are complete and are what a log
 * stores, and the proofs made from them. A proof is first planned (which stored nodes it needs) and then folded, so
 * that storage can answer the whole plan with one query.
 */

import { EMPTY_ROOT, leafHash, nodeHash, perfectRoot } from './merkle.ts';

/** A perfect subtree: the one over entries `index * 2^level` up to `(index + 1) * 2^level`. */
export interface NodeId {
  readonly level: number;
  readonly index: bigint;
}

export interface TreeNode extends NodeId {
  readonly hash: Uint8Array;
}

/** Perfect subtrees, left to right, of falling size: together they are one hash of a proof or a root. */
export type NodePlan = readonly NodeId[];

/** Grows a tree leaf by leaf and holds no more than the perfect subtrees at its right edge. */
export class TreeBuilder {
  private count: bigint;
  private readonly edge: TreeNode[];

  /** @param edge hashes of the nodes that `planRoot(size)` names, in its order; from storage that is trusted */
  constructor(size = 0n, edge: readonly Uint8Array[] = []) {
    this.count = size;
    this.edge = planRoot(size).map((id, i) => ({ ...id, hash: nodeOf(edge, i) }));
  }

  get size(): bigint {
    return this.count;
  }

  /** @returns the nodes that this entry completes, its leaf first */
  append(entry: Uint8Array): readonly TreeNode[] {
    const completed = this.push({ level: 0, index: this.count, hash: leafHash(entry) });
    this.count += 1n;
    return completed;
  }

  /** The same tree as by one `append` for each, faster: of its nodes only those at the right edge are kept. */
  appendAll(entries: readonly Uint8Array[]): void {
    for (let at = 0; at < entries.length;) {
      const level = this.levelOfNext(entries.length - at);
      const width = 2 ** level;
      const hash = perfectRoot(entries.slice(at, at + width));
      this.push({ level, index: this.count >> BigInt(level), hash });
      this.count += BigInt(width);
      at += width;
    }
  }

  /** Of the largest perfect subtree that can follow on the edge and is not wider than so many entries. */
  private levelOfNext(entries: number): number {
    const level = Math.floor(Math.log2(entries));
    const last = this.edge.at(-1)?.level ?? level;
    return Math.min(level, last);
  }

  private push(added: TreeNode): readonly TreeNode[] {
    let node = added;
    const completed = [node];
    while (this.edge.at(-1)?.level === node.level) {
      const left = this.edge.pop();
      if (left === undefined) break;
      node = { level: node.level + 1, index: left.index >> 1n, hash: nodeHash(left.hash, node.hash) };
      completed.push(node);
    }
    this.edge.push(node);
    return completed;
  }

  root(): Uint8Array {
    return this.edge.length === 0 ? EMPTY_ROOT : foldPlan(this.edge.map(({ hash }) => hash));
  }
}

/** The nodes whose fold is the root of a tree of this size; none for the empty tree. */
export function planRoot(size: bigint): NodePlan {
  return planRange(0n, size);
}

/** One plan for each hash of the inclusion proof, that of the leaf's sibling first. Needs `index < size`. */
export function planInclusion(index: bigint, size: bigint): readonly NodePlan[] {
  const plans: NodePlan[] = [];
  let [start, end] = [0n, size];
  while (end - start > 1n) {
    const middle = start + splitOf(end - start);
    if (index < middle) {
      plans.push(planRange(middle, end));
      end = middle;
    } else {
      plans.push(planRange(start, middle));
      start = middle;
    }
  }
  return plans.reverse();
}

/** One plan for each hash of the consistency proof (RFC 9162 section 2.1.4.1). Needs `first <= second`. */
export function planConsistency(first: bigint, second: bigint): readonly NodePlan[] {
  if (first === 0n) return [];
  const plans: NodePlan[] = [];
  let [start, end] = [0n, second];
  while (first !== end) {
    const middle = start + splitOf(end - start);
    if (first <= middle) {
      plans.push(planRange(middle, end));
      end = middle;
    } else {
      plans.push(planRange(start, middle));
      start = middle;
    }
  }
  // A first tree that is itself one perfect subtree is known to the verifier already.
  if (start !== 0n) plans.push(planRange(start, end));
  return plans.reverse();
}

/** The hash of a planned range from the hashes of its nodes. */
export function foldPlan(hashes: readonly Uint8Array[]): Uint8Array {
  return hashes.reduceRight((right, left) => nodeHash(left, right));
}

/** The perfect subtrees of a range that starts at a multiple of its largest power of two. */
function planRange(start: bigint, end: bigint): NodePlan {
  const plan: NodeId[] = [];
  for (let from = start; from < end;) {
    const level = (end - from).toString(2).length - 1;
    plan.push({ level, index: from >> BigInt(level) });
    from += 1n << BigInt(level);
  }
  return plan;
}

/** The largest power of two below the length, which is at least two. */
function splitOf(length: bigint): bigint {
  return 1n << BigInt((length - 1n).toString(2).length - 1);
}

function nodeOf(hashes: readonly Uint8Array[], position: number): Uint8Array {
  const hash = hashes[position];
  if (hash === undefined) throw new RangeError('fewer hashes than the plan names');
  return hash;
}
