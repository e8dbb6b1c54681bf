/**
 * Watches a log (docs/spec/audit.md, section 4): each look takes what is new, verifies that it extends what was seen
 * before, and raises an alarm for whatever a person has to look at. What could not be checked is an alarm too.
 */

import { equalBytes } from '../../attestation/core/bytes.ts';
import { isRefusal, type RefusalError } from '../../attestation/core/refusal.ts';
import type { LogTrust, VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog, fetchBundle, type LogSource } from '../log/reader.ts';
import { TILE_WIDTH } from '../log/tiles.ts';
import { TreeBuilder } from '../log/tree.ts';
import type { Witnessing } from '../log/witness-policy.ts';
import { Spool } from '../platform/spool.ts';
import { freshnessAlarms } from './freshness.ts';
import {
  alarmOfEntry,
  alarmOfRefusal,
  EntryWatch,
  type MonitorAlarm,
  type Watched,
} from './monitor-alarms.ts';
import { LogCopy } from './monitor-copy.ts';
import { fetchNewest, type NewestCheckpoint } from './newest.ts';
import { RuleFollower } from './rule-follower.ts';

export interface MonitorSettings {
  readonly watched: Watched;
  readonly witnesses: Witnessing;
  /** How old the newest sign of life may be, in seconds. */
  readonly maxAgeSeconds: number;
}

/** Called for each alarm, in order. */
export type Raise = (alarm: MonitorAlarm) => void | Promise<void>;

/** Everything that follows from the entries so far. Thrown away and read again when a look fails half-way. */
interface Followed {
  readonly tree: TreeBuilder;
  readonly rules: RuleFollower;
  readonly watch: EntryWatch;
  /** Entries of the bundle that is not full yet. */
  tail: readonly Uint8Array[];
  readonly checkpoint: VerifiedCheckpoint | undefined;
}

export class Monitor {
  readonly #copy: LogCopy;
  readonly #trust: LogTrust;
  readonly #settings: MonitorSettings;
  #followed: Followed;

  private constructor(copy: LogCopy, trust: LogTrust, settings: MonitorSettings, followed: Followed) {
    this.#copy = copy;
    this.#trust = trust;
    this.#settings = settings;
    this.#followed = followed;
  }

  /**
   * @param folder the monitor's own; empty or missing on the first look, which begins with the first entry
   * @throws RefusalError `monitor-copy-damaged`, `file-*`
   */
  static async open(folder: string, trust: LogTrust, settings: MonitorSettings): Promise<Monitor> {
    const copy = new LogCopy(folder, trust);
    return new Monitor(copy, trust, settings, await follow(copy, trust, settings));
  }

  /** Up to where everything was looked at; undefined before the first look. */
  get checkpoint(): VerifiedCheckpoint | undefined {
    return this.#followed.checkpoint;
  }

  /**
   * Looks at what is new.
   *
   * @param source nothing that it says is trusted
   * @param now POSIX seconds
   * @throws RefusalError `file-not-written` and others of the monitor's own folder; what the source refuses is an alarm
   */
  async look(source: LogSource, now: number, raise: Raise): Promise<void> {
    let newest: NewestCheckpoint;
    try {
      newest = await fetchNewest(source, this.#trust);
    } catch (error) {
      await raise(alarmOfFailure(error, 'checkpoint-refused'));
      return;
    }
    const { checkpoint } = newest;
    if (checkpoint.size === 0n) await raise({ alarm: 'empty', text: 'the log has no entries' });
    if (await this.#extends(newest, raise)) {
      for (const alarm of await freshnessAlarms(
        checkpoint,
        this.#followed.rules.state,
        this.#settings,
        now,
      )) {
        await raise(alarm);
      }
    }
  }

  /** @returns whether the newest checkpoint is consistent with everything seen, and its entries with it */
  async #extends(newest: NewestCheckpoint, raise: Raise): Promise<boolean> {
    const { checkpoint } = newest;
    const { checkpoint: known } = this.#followed;
    const seen = known?.size ?? 0n;
    if (checkpoint.size < seen) {
      await raise(
        await this.#contradiction(
          'rollback',
          `${seen} entries were seen, now ${checkpoint.size}`,
          checkpoint,
        ),
      );
      return false;
    }
    if (checkpoint.size === 0n) return false;
    if (checkpoint.size > seen) return await this.#readOn(newest, raise);
    if (known !== undefined && !equalBytes(known.root, checkpoint.root)) {
      await raise(await this.#contradiction('split-view', `two roots of ${seen} entries`, checkpoint));
      return false;
    }
    // The same tree, signed or cosigned anew.
    await this.#arrive(checkpoint);
    return true;
  }

  /** Takes the entries that are new. What they call for is said when their root holds, and never before. */
  async #readOn(newest: NewestCheckpoint, raise: Raise): Promise<boolean> {
    await using found = new Spool();
    let problem: MonitorAlarm | undefined;
    try {
      const holds = await this.#takeEntries(newest, async (alarm) => {
        await found.append(JSON.stringify(alarm));
      });
      if (!holds) problem = await this.#diagnose(newest);
    } catch (error) {
      problem = alarmOfFailure(error, 'entries-refused');
    }
    if (problem !== undefined) {
      await this.#goBack();
      await raise(problem);
      return false;
    }
    try {
      for await (const line of found.lines()) await raise(JSON.parse(line) as MonitorAlarm);
    } catch (error) {
      // What was not said is looked at again.
      await this.#goBack();
      throw error;
    }
    await this.#arrive(newest.checkpoint);
    return true;
  }

  /** @returns whether what was seen and what is new are together what the newest checkpoint was signed over */
  async #takeEntries({ checkpoint, source }: NewestCheckpoint, raise: Raise): Promise<boolean> {
    const { tree } = this.#followed;
    for (let index = tree.size / BigInt(TILE_WIDTH); tree.size < checkpoint.size; index += 1n) {
      const entries = await fetchBundle(source, checkpoint.size, index);
      const { tail } = this.#followed;
      if (tail.some((entry, i) => !equalBytes(entry, entries[i] ?? new Uint8Array(0)))) return false;
      for (const entry of entries.slice(tail.length)) {
        for (const alarm of takeEntry(this.#followed, entry)) await raise(alarm);
      }
      this.#followed.tail = entries.length === TILE_WIDTH ? [] : entries;
      await this.#copy.writeBundle(index, entries);
    }
    return equalBytes(tree.root(), checkpoint.root);
  }

  /**
   * Why the entries do not lead to the checkpoint. Another history is shown by signed roots alone: when all entries are
   * those of the newest checkpoint, and not those that were seen. Anything else may be the fault of a mirror.
   */
  async #diagnose({ checkpoint, source }: NewestCheckpoint): Promise<MonitorAlarm> {
    const { checkpoint: known } = this.#followed;
    const seen = new TreeBuilder();
    try {
      await auditLog(source, this.#trust, { minimumSize: 1n }, (entry) => {
        if (known !== undefined && seen.size < known.size) seen.append(entry);
      });
    } catch (error) {
      return alarmOfFailure(error, 'entries-refused');
    }
    if (known !== undefined && !equalBytes(seen.root(), known.root)) {
      return await this.#contradiction(
        'split-view',
        `another root of ${known.size} entries than was seen`,
        checkpoint,
      );
    }
    return { alarm: 'entries-refused', text: 'the source gave other entries when it was asked again' };
  }

  /** Both notes are kept: with their signatures they prove it to anybody (TL-27). */
  async #contradiction(
    alarm: 'split-view' | 'rollback',
    text: string,
    now: VerifiedCheckpoint,
  ): Promise<MonitorAlarm> {
    const { checkpoint: before } = this.#followed;
    const notes = before === undefined ? [now] : [before, now];
    const evidence: string[] = [];
    for (const { size, note } of notes)
      evidence.push(await this.#copy.keepEvidence(`${alarm}-${size}`, note));
    return { alarm, text, evidence };
  }

  /** To where everything was looked at and said. */
  async #goBack(): Promise<void> {
    this.#followed = await follow(this.#copy, this.#trust, this.#settings);
  }

  async #arrive(checkpoint: VerifiedCheckpoint): Promise<void> {
    await this.#copy.moveTo(checkpoint, this.#followed.checkpoint);
    this.#followed = { ...this.#followed, checkpoint };
  }
}

/** Rebuilds everything from the copy. */
async function follow(copy: LogCopy, trust: LogTrust, { watched }: MonitorSettings): Promise<Followed> {
  const tree = new TreeBuilder();
  const followed = { tree, rules: new RuleFollower(trust.origin), watch: new EntryWatch(watched) };
  let tail: Uint8Array[] = [];
  const checkpoint = await copy.read((entry) => {
    takeEntry(followed, entry);
    if (tail.length === TILE_WIDTH) tail = [];
    tail.push(entry);
  });
  if (tail.length === TILE_WIDTH) tail = [];
  return { ...followed, tail, checkpoint };
}

function takeEntry(
  { tree, rules, watch }: Pick<Followed, 'tree' | 'rules' | 'watch'>,
  entry: Uint8Array,
): readonly MonitorAlarm[] {
  tree.append(entry);
  const taken = rules.take(entry);
  return 'refusal' in taken ? [alarmOfEntry(taken)] : watch.alarmsOf(taken);
}

/** @param otherwise what it is where the source answered */
function alarmOfFailure(error: unknown, otherwise: 'checkpoint-refused' | 'entries-refused'): MonitorAlarm {
  // Trouble with the monitor's own folder is not the log's.
  if (!isRefusal(error) || error.family === 'environment') throw error;
  return alarmOfRefusal(isUnavailable(error) ? 'unreachable' : otherwise, error.refusal);
}

function isUnavailable({ family }: RefusalError): boolean {
  return family === 'unavailable';
}
