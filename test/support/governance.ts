/** Persons, labs and a log for tests of governance and of everything that stands on it. */

import { createHash } from 'node:crypto';

import { toBase64 } from '../../attestation/core/bytes.ts';
import {
  decodeEntry,
  encodeEntry,
  statementEntry,
  type DecisionEntry,
  type GenesisEntry,
  type LogEntry,
} from '../../src/governance/entries.ts';
import type { Mode } from '../../src/governance/fields.ts';
import { applyEntry, initialState } from '../../src/governance/fold.ts';
import type { PredicateName, PredicateOf } from '../../src/governance/predicates.ts';
import {
  referenceValuesDigestOf,
  releasePolicyDigestOf,
  type Effect,
  type GovernanceState,
} from '../../src/governance/state.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { createTrustRoot, type TrustRoot } from '../../src/governance/trust-root.ts';
import { signerFromSeed } from '../../src/keys/ed25519-seed.ts';
import type { Ed25519Signer } from '../../src/platform/ed25519.ts';

/** A digest, or the seed of a key, that a word stands for: the same in each run. */
export function digestOf(word: string): string {
  return createHash('sha256').update(word).digest('hex');
}

export function signerOf(word: string): Ed25519Signer {
  return signerFromSeed(createHash('sha256').update(word).digest());
}

export const signers = {
  anna: signerOf('anna'),
  annaAtHome: signerOf('anna at home'),
  bert: signerOf('bert'),
  cleo: signerOf('cleo'),
  /** In the trust root, without the role that decides. */
  dora: signerOf('dora'),
  /** In no trust root. */
  mallory: signerOf('mallory'),
};

export const DAY = 86_400;
export const START = 1_800_000_000;

function person(name: string, role: string, ...keys: readonly Ed25519Signer[]) {
  const publicKeys = keys.map(({ publicKey }) => toBase64(publicKey));
  return { person: name, organisation: 'Example', role, publicKeys };
}

/** Anna (with two keys), Bert and Cleo decide by two; Dora audits. */
export function exampleTrustRoot(mode: Mode = 'evaluation'): TrustRoot {
  return createTrustRoot({
    mode,
    persons: [
      person('anna', 'release-manager', signers.anna, signers.annaAtHome),
      person('bert', 'release-manager', signers.bert),
      person('cleo', 'release-manager', signers.cleo),
      person('dora', 'auditor', signers.dora),
    ],
    role: 'release-manager',
    quorumPersons: 2,
  });
}

export function exampleGenesis(mode: Mode = 'evaluation', trustRoot = exampleTrustRoot(mode)): GenesisEntry {
  const origin = mode === 'evaluation' ? 'example.org/evaluation' : 'example.org';
  return { version: 1, type: 'genesis', at: START, origin, mode, logKey: `${origin}+0+A`, trustRoot };
}

export const examplePredicates = {
  accreditation: {
    lab: 'lab-one',
    organisation: 'Lab One',
    jurisdiction: 'DE',
    publicKeys: [toBase64(signerOf('lab one').publicKey)],
    machines: [{ name: 'rack-1', endorsementKeyDigest: digestOf('endorsement key') }],
    endsAt: START + 1000 * DAY,
    statedAt: START,
  },
  model: {
    model: 'tern',
    version: '1.0',
    variant: 'aligned',
    manifestDigest: digestOf('manifest'),
    inferencePolicyDigest: digestOf('inference policy'),
    statedAt: START,
  },
  toResearch: {
    manifestDigest: digestOf('manifest'),
    from: 'sealed',
    to: 'research',
    reason: 'ready for review',
    statedAt: START,
  },
  releasePolicy: {
    epoch: 1,
    cedar: '@id("everything") permit (principal, action, resource);',
    leaseSeconds: { research: 3600 },
    deviceSets: [['tpm']],
    tpm: {
      bank: 'sha256',
      pcrs: [0, 4, 7],
      registers: 'reference',
      ratchet: 'none',
      boot: 'any',
      allowUnsafeClock: true,
      endorsementValidity: 'ignore-expiry',
      deniedFirmware: [],
    },
    statedAt: START,
  },
  referenceValues: {
    deviceClass: 'tpm',
    name: 'rack',
    epoch: 1,
    values: { version: 1 },
    statedAt: START,
  },
  hold: {
    target: { kind: 'model', id: digestOf('manifest') },
    reason: 'a critical finding',
    statedAt: START,
  },
} as const satisfies Record<string, unknown>;

/** A predicate as the examples write it, where the schema has mutable lists. */
export function predicateOf<Name extends PredicateName>(_name: Name, value: unknown): PredicateOf<Name> {
  return structuredClone(value) as PredicateOf<Name>;
}

/** A log that only grows by what the fold accepts. Every entry goes through its bytes. */
export class ExampleLog {
  readonly entries: LogEntry[];
  state: GovernanceState;
  at = START;

  constructor(genesis: GenesisEntry = exampleGenesis()) {
    this.entries = [decodeEntry(encodeEntry(genesis))];
    this.state = initialState(genesis);
  }

  append(entry: LogEntry): readonly Effect[] {
    const read = decodeEntry(encodeEntry(entry));
    const { state, effects } = applyEntry(this.state, read, this.state.size);
    this.entries.push(read);
    this.state = state;
    return effects;
  }

  /** Has each of the signers log the statement, in their order. */
  async say(
    name: PredicateName,
    predicate: unknown,
    by: readonly Ed25519Signer[] = [signers.anna, signers.bert],
  ): Promise<readonly Effect[]> {
    const statement = makeStatement(name, predicateOf(name, predicate));
    const envelopes = await signByEach(statement, by);
    return envelopes.flatMap((envelope) => this.append(statementEntry(this.at, envelope)));
  }

  enrol(attestationKey = 'attestation key', simulated = false, change: object = {}): readonly Effect[] {
    return this.append({
      version: 1,
      type: 'enrolment',
      at: this.at,
      lab: 'lab-one',
      attestationKeyName: `000b${digestOf(attestationKey)}`,
      endorsementKeyDigest: digestOf('endorsement key'),
      endorsementCertificateDigest: digestOf('endorsement certificate'),
      simulated,
      ...change,
    });
  }
}

/** A log in which lab-one may run the model in phase research. */
export async function readyLog(genesis: GenesisEntry = exampleGenesis()): Promise<ExampleLog> {
  const log = new ExampleLog(genesis);
  await log.say('lab-accreditation/v1', examplePredicates.accreditation);
  log.enrol();
  await log.say('model-version/v1', examplePredicates.model);
  await log.say('release-policy/v1', examplePredicates.releasePolicy);
  log.at += 31 * DAY;
  await log.say('promotion/v1', examplePredicates.toResearch);
  return log;
}

/** The machine that a `readyLog` has enrolled. */
export const exampleDevice = {
  class: 'tpm',
  simulated: false,
  claims: { akName: `000b${digestOf('attestation key')}` },
};

/** A grant that is right in a `readyLog`. */
export function exampleGrant(state: GovernanceState, at: number): DecisionEntry {
  return {
    version: 1,
    type: 'decision',
    at,
    outcome: 'granted',
    lab: 'lab-one',
    purpose: 'red-teaming',
    manifestDigest: digestOf('manifest'),
    inferencePolicyDigest: digestOf('inference policy'),
    agentKeyDigest: digestOf('agent key'),
    challengeDigest: digestOf('nonce'),
    requestDigest: digestOf('request'),
    evidenceDigest: digestOf('evidence'),
    claims: [exampleDevice],
    referenceValuesDigest: referenceValuesDigestOf(state),
    releasePolicyDigest: releasePolicyDigestOf(state),
    serverBuild: 'test',
    phase: 'research',
    reasons: ['everything'],
    refusals: [],
    lease: { lease: '00'.repeat(16), startsAt: at, endsAt: at + 3600, renewAfterSeconds: 1800 },
    renews: null,
  };
}
