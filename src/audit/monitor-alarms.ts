/** What a monitor raises (docs/spec/audit.md, section 4): each alarm one line for programs, with words for people. */

import type { Refusal } from '../../attestation/core/refusal.ts';
import type { Effect, GovernanceState } from '../governance/state.ts';
import { legible } from '../platform/legible.ts';
import type { Alarm, FollowedEntry } from './rule-follower.ts';
import { describeEffect, modelName } from './wording.ts';

/** A closed set: programs decide by it. AU-42 says what each one means. */
export type AlarmKind =
  | 'split-view'
  | 'rollback'
  | 'empty'
  | 'checkpoint-refused'
  | 'entries-refused'
  | 'entry-refused'
  | 'quorum-missing'
  | 'frozen'
  | 'clock'
  | 'silence'
  | 'unreachable'
  | 'rules-changed'
  | 'server-changed'
  | 'watched-release';

export interface MonitorAlarm {
  readonly alarm: AlarmKind;
  readonly text: string;
  /** Of the entry that it is about. */
  readonly index?: number;
  /** POSIX seconds by the clock of the server. */
  readonly at?: number;
  /** Of the refusal that it was. */
  readonly code?: string;
  /** Files that prove it to anybody, in the folder of the monitor. */
  readonly evidence?: readonly string[];
}

/** Whose releases are looked for. */
export interface Watched {
  /** Manifest digests. */
  readonly models: readonly string[];
  readonly labs: readonly string[];
}

export function alarmOfRefusal(alarm: AlarmKind, { field, expected, found, code }: Refusal): MonitorAlarm {
  return { alarm, text: legible(`${field}: expected ${expected}, found ${found}`), code };
}

export function alarmOfEntry({ index, refusal }: Alarm): MonitorAlarm {
  return { ...alarmOfRefusal('entry-refused', refusal), index };
}

/** What an entry that the rules allow is still to be looked at for. Remembers which builds of the server have spoken. */
export class EntryWatch {
  readonly #watched: Watched;
  readonly #builds = new Set<string>();

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  alarmsOf({ index, entry, before, effects }: FollowedEntry): readonly MonitorAlarm[] {
    const place = { index, at: entry.at };
    const alarms = effects
      .flatMap((effect) => alarmOfEffect(effect, before))
      .map((found) => ({ ...found, ...place }));
    if ('serverBuild' in entry && !this.#builds.has(entry.serverBuild)) {
      this.#builds.add(entry.serverBuild);
      const text = `a server of build ${legible(entry.serverBuild)}, which this log had not heard before`;
      alarms.push({ alarm: 'server-changed', text, ...place });
    }
    if (entry.type !== 'decision' || entry.outcome !== 'granted') return alarms;
    const { models, labs } = this.#watched;
    if (models.includes(entry.manifestDigest) || labs.includes(entry.lab)) {
      const what = entry.renews === null ? 'was granted the key of' : 'renewed its lease of';
      const text = `${entry.lab} ${what} ${modelName(entry.manifestDigest, before)} for ${legible(entry.purpose)}`;
      alarms.push({ alarm: 'watched-release', text, ...place });
    }
    return alarms;
  }
}

function alarmOfEffect(
  effect: Effect,
  before: GovernanceState | undefined,
): Pick<MonitorAlarm, 'alarm' | 'text'>[] {
  switch (effect.effect) {
    case 'signature-counted':
    case 'machine-enrolled':
      return [];
    case 'silence-ended':
      return [{ alarm: 'silence', text: describeEffect(effect, before) }];
    case 'lab-accredited':
    case 'model-registered':
    case 'model-promoted':
    case 'reference-values-set':
    case 'release-policy-set':
    case 'held':
    case 'resumed':
    case 'custody-changed':
      return [{ alarm: 'rules-changed', text: describeEffect(effect, before) }];
  }
}
