/**
 * What the server counts of requests that leave no entry in the log (docs/spec/release-protocol.md, RP-37, RP-38). In
 * memory, and of a size that no sender can make grow.
 */

/** What is handed out to whoever asks. */
export type HandedOut = 'challenges' | 'enrolments';

/** What was counted up to now. */
export interface Counted {
  readonly handedOut: Readonly<Record<HandedOut, number>>;
  /** By refusal code. */
  readonly refusals: ReadonlyMap<string, number>;
}

/** More codes than any server answers with. */
const MAX_CODES = 256;
/** Stands for all codes beyond. */
const OTHER_CODES = 'other';

export class RequestCounts {
  private handedOut: Record<HandedOut, number> = { challenges: 0, enrolments: 0 };
  private readonly refusals = new Map<string, number>();

  /** @param code of a refusal that was answered */
  refuse(code: string): void {
    const isNamed = this.refusals.has(code) || this.refusals.size < MAX_CODES;
    const name = isNamed ? code : OTHER_CODES;
    this.refusals.set(name, (this.refusals.get(name) ?? 0) + 1);
  }

  handOut(kind: HandedOut): void {
    this.handedOut[kind] += 1;
  }

  /** What was counted; it goes on counting until it is told to settle. */
  current(): Counted {
    return { handedOut: { ...this.handedOut }, refusals: new Map(this.refusals) };
  }

  /** Takes off what stands in the log now. @param logged from {@link current} */
  settle({ handedOut, refusals }: Counted): void {
    this.handedOut.challenges -= handedOut.challenges;
    this.handedOut.enrolments -= handedOut.enrolments;
    for (const [code, count] of refusals) {
      const left = (this.refusals.get(code) ?? 0) - count;
      if (left > 0) this.refusals.set(code, left);
      else this.refusals.delete(code);
    }
  }
}
