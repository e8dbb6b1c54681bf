/**
 * A year of releases in simulated time, through the real log: a server's own `GovernanceLog` over a `ReleaseLog` on disk,
 * with a clock that runs as fast as entries are written.
 */

import { mkdir, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';

import { encodeEntry, statementEntry } from '../../src/governance/entries.ts';
import type { PredicateName } from '../../src/governance/predicates.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { createReleaseLog } from '../../src/log/log-folder.ts';
import type { ReleaseLog } from '../../src/log/release-log.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { writeServerProfile } from '../../src/platform/server-profile.ts';
import { GovernanceLog } from '../../src/server/governance-log.ts';
import { testSigner } from '../log/test-signer.ts';
import {
  DAY,
  digestOf,
  exampleGenesis,
  exampleGrant,
  examplePredicates,
  predicateOf,
  signers,
  START,
} from './governance.ts';

export const YEAR_DAYS = 365;
export const DECISIONS_A_DAY = 8;
/** Every so many decisions one is a refusal. */
const REFUSED_EVERY = 9;
const MAX_WAITING = 128;

/** The wall clock and the monotonic one go together: nobody sets it. */
class FastClock implements Clock {
  seconds = START;

  posixSeconds(): number {
    return this.seconds;
  }

  monotonicMilliseconds(): number {
    return this.seconds * 1000;
  }
}

class YearWriter {
  private readonly governance: GovernanceLog;
  private readonly clock: FastClock;
  private waiting: Promise<unknown>[] = [];
  private decisions = 0;

  constructor(governance: GovernanceLog, clock: FastClock) {
    this.governance = governance;
    this.clock = clock;
  }

  async say(name: PredicateName, predicate: unknown): Promise<void> {
    const statement = makeStatement(name, predicateOf(name, predicate));
    for (const envelope of await signByEach(statement, [signers.anna, signers.bert])) {
      await this.hand((_state, at) => statementEntry(at, envelope));
    }
  }

  async holdAndResume(): Promise<void> {
    const hold = { ...examplePredicates.hold, statedAt: this.clock.seconds };
    const [envelope] = await signByEach(makeStatement('hold/v1', predicateOf('hold/v1', hold)), [
      signers.dora,
    ]);
    await this.hand((_state, at) => statementEntry(at, envelope!));
    const holds = [...this.governance.state.holds.keys()];
    this.clock.seconds += 3600;
    await this.say('resume/v1', { holds, reason: 'explained', statedAt: this.clock.seconds });
  }

  async enrol(): Promise<void> {
    await this.hand((_state, at) => ({
      version: 1,
      type: 'enrolment',
      at,
      lab: 'lab-one',
      attestationKeyName: `000b${digestOf('attestation key')}`,
      endorsementKeyDigest: digestOf('endorsement key'),
      endorsementCertificateDigest: digestOf('endorsement certificate'),
      simulated: false,
    }));
  }

  async decide(): Promise<void> {
    this.decisions += 1;
    const isRefused = this.decisions % REFUSED_EVERY === 0;
    await this.hand((state, at) => {
      const grant = exampleGrant(state, at);
      if (!isRefused) return grant;
      const refusals = [{ code: 'policy-refused', field: 'releasePolicy' }];
      return {
        ...grant,
        outcome: 'refused',
        purpose: '=leisure()',
        lease: null,
        reasons: [],
        claims: [],
        refusals,
      };
    });
  }

  async settle(): Promise<void> {
    await Promise.all(this.waiting.splice(0));
  }

  private async hand(make: Parameters<GovernanceLog['record']>[0]): Promise<void> {
    this.waiting.push(this.governance.record(make));
    if (this.waiting.length >= MAX_WAITING) await this.settle();
  }
}

/** @returns folders and files: the log, and the profile that pins it */
export async function makeYear(root: string): Promise<{ readonly log: string; readonly profile: string }> {
  const folder = await mkdtemp(join(root, 'log-'));
  const genesis = exampleGenesis();
  const signer = testSigner(genesis.origin);
  const logKey = formatVerifierKey(signer.key);
  const log = await createReleaseLog(folder, { origin: genesis.origin, signers: [signer] });
  try {
    await log.append(encodeEntry({ ...genesis, logKey }));
    await writeYear(log);
  } finally {
    await log.close();
  }
  await mkdir(join(root, 'given'));
  const profile = join(root, 'given', 'profile.json');
  await writeServerProfile(profile, {
    version: 1,
    // Nothing listens there: what is verified with this profile is verified without its server.
    address: 'https://127.0.0.1:1',
    authorityCertificate: 'none',
    origin: genesis.origin,
    mode: 'evaluation',
    logKey,
    bundleSigners: [examplePredicates.accreditation.publicKeys[0]],
  });
  return { log: folder, profile };
}

async function writeYear(log: ReleaseLog): Promise<void> {
  const clock = new FastClock();
  const writer = new YearWriter(await GovernanceLog.open(log, log.published.replay(), clock), clock);
  const { accreditation, model, releasePolicy, toResearch } = examplePredicates;
  await writer.say('lab-accreditation/v1', accreditation);
  await writer.enrol();
  await writer.say('model-version/v1', model);
  await writer.say('release-policy/v1', releasePolicy);
  clock.seconds += 31 * DAY;
  await writer.say('promotion/v1', toResearch);
  for (let day = 31; day < YEAR_DAYS; day += 1) {
    const morning = START + day * DAY;
    if (day % 90 === 0)
      await writer.say('release-policy/v1', { ...releasePolicy, epoch: day, statedAt: morning });
    if (day % 60 === 0) await writer.holdAndResume();
    for (let i = 0; i < DECISIONS_A_DAY; i += 1) {
      clock.seconds = morning + 7200 + i * 3600;
      await writer.decide();
    }
  }
  await writer.settle();
}
