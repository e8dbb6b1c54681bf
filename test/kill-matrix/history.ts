/** All that ever left the processes of one log, and what must hold of it however they ended. */

import { equalBytes, fromUtf8, toBase64 } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { openReleaseLog } from '../../src/log/log-folder.ts';
import { auditLog } from '../../src/log/reader.ts';
import type { ReleaseLog } from '../../src/log/release-log.ts';
import { publishedSource } from '../../src/log/sources.ts';
import { verifyTlogProof } from '../../src/log/tlog-proof.ts';
import type { WatchingWitness } from './witness-service.ts';
import { entryOf, limits, trust, watchedIdentity, witnessesAt, type WorkEvent } from './work.ts';

/** Something that must never happen has happened. */
export class Violation extends Error {}

export function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Violation(what);
}

interface Acknowledged {
  readonly index: bigint;
  readonly proof: string;
}

export class History {
  private readonly acknowledged = new Map<string, Acknowledged>();
  private readonly rootBySize = new Map<bigint, string>();

  get size(): number {
    return this.acknowledged.size;
  }

  /** A copy, for logs that go on from one state in several ways. */
  clone(): History {
    const copy = new History();
    for (const [name, each] of this.acknowledged) copy.acknowledged.set(name, each);
    for (const [size, root] of this.rootBySize) copy.rootBySize.set(size, root);
    return copy;
  }

  /** TL-17, TL-20. @throws Violation */
  take(events: readonly WorkEvent[]): void {
    let failure: string | undefined;
    for (const event of events) {
      if (event.kind === 'signed') {
        this.takeSigned(event.text);
      } else if (event.kind === 'refused') {
        failure = event.code;
      } else {
        demand(failure === undefined, `${event.name} was acknowledged after ${failure ?? ''}`);
        this.takeAcknowledged(event.name, { index: BigInt(event.index), proof: event.proof });
      }
    }
  }

  /** @param text of a checkpoint that was signed, whoever has it now */
  takeSigned(text: string): void {
    const { size, root } = parseCheckpointBody(text);
    const known = this.rootBySize.get(size);
    demand(known === undefined || known === toBase64(root), `two roots were signed for size ${size}`);
    this.rootBySize.set(size, toBase64(root));
  }

  takeAcknowledged(name: string, found: Acknowledged): void {
    const known = this.acknowledged.get(name);
    demand(known === undefined || known.index === found.index, `${name} moved from ${known?.index ?? 0n}`);
    const other = [...this.acknowledged].find(([each, { index }]) => each !== name && index === found.index);
    demand(other === undefined, `${name} and ${other?.[0] ?? ''} both stand at ${found.index}`);
    if (known === undefined) this.acknowledged.set(name, found);
  }

  /**
   * The log is opened as its server would, audited whole, and every acknowledged entry looked up; then all work is asked
   * for again under the same idempotency keys.
   *
   * @returns how long it took to open the log, or by which code it refused to be opened
   * @throws Violation
   */
  async reopen(
    folder: string,
    names: readonly string[],
    witness: WatchingWitness | undefined,
  ): Promise<Recovery> {
    const identity = watchedIdentity((text) => {
      this.takeSigned(text);
    });
    const witnesses = witness === undefined ? undefined : witnessesAt(witness.address);
    const startedAt = performance.now();
    let log: ReleaseLog;
    try {
      log = await openReleaseLog(folder, identity, { limits, witnesses });
    } catch (error) {
      witnesses?.close();
      if (!isRefusal(error)) throw error;
      return { refused: error.refusal.code };
    }
    const milliseconds = performance.now() - startedAt;
    try {
      await this.check(log, names);
    } finally {
      await log.close();
    }
    for (const text of witness?.shown ?? []) this.takeSigned(text);
    demand(
      (witness?.refusals.length ?? 0) === 0,
      `the witness refused: ${witness?.refusals.join(', ') ?? ''}`,
    );
    return { milliseconds };
  }

  private async check(log: ReleaseLog, names: readonly string[]): Promise<void> {
    await this.checkEntries(log);
    await Promise.all(
      names.map(async (name) => {
        const { index, proof } = await log.append(entryOf(name), { idempotencyKey: name });
        await verifyTlogProof(entryOf(name), proof, { ...trust, witnesses: 'not-required' });
        this.takeAcknowledged(name, { index, proof });
      }),
    );
    await this.checkEntries(log);
    demand(log.published.size === BigInt(this.size), `${log.published.size} entries for ${this.size} names`);
  }

  /** TL-16, TL-25: the tree is rebuilt from the entries; what was acknowledged is where it was, with its proof. */
  private async checkEntries(log: ReleaseLog): Promise<void> {
    const stored: Uint8Array[] = [];
    await auditLog(publishedSource(log), trust, { minimumSize: 0n }, (entry) => {
      stored.push(Uint8Array.from(entry));
    });
    for (const [name, { index, proof }] of this.acknowledged) {
      const entry = stored[Number(index)];
      demand(entry !== undefined, `${name} was acknowledged at ${index} and is lost`);
      demand(equalBytes(entry, entryOf(name)), `at ${index} stands ${fromUtf8(entry, 'entry')}, not ${name}`);
      await verifyTlogProof(entry, proof, { ...trust, witnesses: 'not-required' });
    }
  }
}

/** How a log came back. */
export type Recovery = { readonly milliseconds: number } | { readonly refused: string };
