/**
 * Many terms searched at once in one pass (Aho and Corasick, 1975): the time for a text depends on its length alone,
 * whatever the terms and whatever an attacker writes.
 */

export class TermAutomaton {
  private readonly symbols = new Map<number, number>();
  private readonly symbolCount: number;
  /** For each state, the next state for each symbol. Symbol 0 stands for everything that is in no term. */
  private readonly next: Int32Array;
  /** For each state, the indices of the terms that end there. */
  private readonly ends: readonly (readonly number[])[];

  /** @param terms non-empty; a match is reported by the index here */
  constructor(terms: readonly string[]) {
    for (const term of terms) {
      for (let i = 0; i < term.length; i += 1) {
        const unit = term.charCodeAt(i);
        if (!this.symbols.has(unit)) this.symbols.set(unit, this.symbols.size + 1);
      }
    }
    this.symbolCount = this.symbols.size + 1;
    const states = 1 + terms.reduce((total, term) => total + term.length, 0);
    this.next = new Int32Array(states * this.symbolCount).fill(-1);
    const ends: number[][] = Array.from({ length: states }, () => []);
    this.addTerms(terms, ends);
    this.completeTransitions(ends);
    this.ends = ends;
  }

  private addTerms(terms: readonly string[], ends: number[][]): void {
    let states = 1;
    terms.forEach((term, index) => {
      let state = 0;
      for (let i = 0; i < term.length; i += 1) {
        const at = state * this.symbolCount + (this.symbols.get(term.charCodeAt(i)) ?? 0);
        if (this.target(at) === -1) {
          this.next[at] = states;
          states += 1;
        }
        state = this.target(at);
      }
      ends[state]?.push(index);
    });
  }

  /** Breadth first, so that the state to fall back to is complete before it is needed. */
  private completeTransitions(ends: number[][]): void {
    const fallback = new Int32Array(ends.length);
    const queue = [0];
    for (const state of queue) {
      const fallbackState = fallback[state] ?? 0;
      if (state !== 0) ends[state]?.push(...(ends[fallbackState] ?? []));
      for (let symbol = 0; symbol < this.symbolCount; symbol += 1) {
        const at = state * this.symbolCount + symbol;
        const beside = state === 0 ? 0 : this.target(fallbackState * this.symbolCount + symbol);
        const child = this.target(at);
        if (child === -1) {
          this.next[at] = beside;
        } else {
          fallback[child] = beside;
          queue.push(child);
        }
      }
    }
  }

  private target(at: number): number {
    return this.next[at] ?? 0;
  }

  /** The state after one more UTF-16 unit; a search starts in state 0. */
  step(state: number, unit: number): number {
    return this.target(state * this.symbolCount + (this.symbols.get(unit) ?? 0));
  }

  /** The terms that end with the unit that led to this state. */
  endingAt(state: number): readonly number[] {
    return this.ends[state] ?? [];
  }
}
