/**
 * The trust root: which persons exist, which role each has, how many of them each kind of statement needs, and how
 * long a model version is reviewed before it rises. It stands in the genesis entry and is what everything else in
 * the log is judged by (docs/spec/governance.md, section 3).
 */

import { z } from 'zod';

import { governanceRefusals } from './refusals.ts';
import {
  displayNameField,
  durationSecondsField,
  identifierField,
  modeField,
  PHASES,
  phaseField,
  publicKeyField,
  type Mode,
} from './fields.ts';

const DAY_SECONDS = 86_400;

/** The review floor below which no production root is accepted. */
const PRODUCTION_REVIEW_FLOOR_SECONDS = 30 * DAY_SECONDS;
const PRODUCTION_REVIEW_SECONDS = 90 * DAY_SECONDS;

/** Fewer than two persons never start, promote or loosen anything (W8). */
const MINIMUM_QUORUM = 2;

const personSchema = z.strictObject({
  person: identifierField,
  organisation: displayNameField,
  role: identifierField,
  publicKeys: z.array(publicKeyField).min(1).max(8),
});

const quorumSchema = z.strictObject({ role: identifierField, persons: z.int().min(MINIMUM_QUORUM).max(64) });

const edgeSchema = z.strictObject({ from: phaseField, to: phaseField, reviewSeconds: durationSecondsField });

/** Every kind of statement that needs a quorum has one; `hold/v1` has none because one person can stop. */
export const trustRootSchema = z.strictObject({
  version: z.literal(1),
  mode: modeField,
  persons: z.array(personSchema).min(MINIMUM_QUORUM).max(256),
  quorum: z.strictObject({
    'lab-accreditation/v1': quorumSchema,
    'model-version/v1': quorumSchema,
    'promotion/v1': quorumSchema,
    'reference-values/v1': quorumSchema,
    'release-policy/v1': quorumSchema,
    'resume/v1': quorumSchema,
  }),
  edges: z.array(edgeSchema).max(PHASES.length - 1),
  reviewFloorSeconds: durationSecondsField,
});

export type TrustRoot = z.infer<typeof trustRootSchema>;
export type Person = TrustRoot['persons'][number];
export type PhaseEdge = TrustRoot['edges'][number];

/**
 * The edges of a new root when the operator names none: in production 90 days, and the floor itself before
 * research; in evaluation none at all.
 */
export function defaultEdges(mode: Mode): PhaseEdge[] {
  const production = mode === 'production';
  return [
    { from: 'sealed', to: 'research', reviewSeconds: production ? PRODUCTION_REVIEW_FLOOR_SECONDS : 0 },
    { from: 'research', to: 'enterprise', reviewSeconds: production ? PRODUCTION_REVIEW_SECONDS : 0 },
    { from: 'enterprise', to: 'public', reviewSeconds: production ? PRODUCTION_REVIEW_SECONDS : 0 },
  ];
}

/**
 * A root in which one role decides everything by one quorum, with the default edges.
 *
 * @param options.persons each with the role that decides; at least as many as the quorum
 * @throws RefusalError as `checkTrustRoot`
 */
export function createTrustRoot(options: {
  readonly mode: Mode;
  readonly persons: readonly Person[];
  readonly role: string;
  readonly quorumPersons: number;
}): TrustRoot {
  const { mode, persons, role, quorumPersons } = options;
  const quorum = { role, persons: quorumPersons };
  const root: TrustRoot = {
    version: 1,
    mode,
    persons: [...persons],
    quorum: {
      'lab-accreditation/v1': quorum,
      'model-version/v1': quorum,
      'promotion/v1': quorum,
      'reference-values/v1': quorum,
      'release-policy/v1': quorum,
      'resume/v1': quorum,
    },
    edges: defaultEdges(mode),
    reviewFloorSeconds: mode === 'production' ? PRODUCTION_REVIEW_FLOOR_SECONDS : 0,
  };
  checkTrustRoot(root);
  return root;
}

/**
 * Refuses a root that could not keep what it promises (GV-10 to GV-14).
 *
 * @throws RefusalError `governance-trust-root`
 */
export function checkTrustRoot(root: TrustRoot): void {
  checkPersons(root);
  checkQuorums(root);
  checkEdges(root);
}

function refuse(rule: string, field: string, expected: string, found: string): never {
  throw governanceRefusals.error('governance-trust-root', {
    field: `trustRoot.${field}`,
    expected: `${expected} (${rule})`,
    found,
  });
}

function checkPersons(root: TrustRoot): void {
  const names = root.persons.map(({ person }) => person);
  if (new Set(names).size !== names.length) refuse('GV-10', 'persons', 'each person once', 'one named twice');
  const keys = root.persons.flatMap(({ publicKeys }) => publicKeys);
  if (new Set(keys).size !== keys.length) {
    refuse('GV-11', 'persons', 'each public key once', 'one key given twice');
  }
}

function checkQuorums(root: TrustRoot): void {
  for (const [predicate, { role, persons }] of Object.entries(root.quorum)) {
    const holders = root.persons.filter((person) => person.role === role).length;
    if (holders < persons) {
      refuse('GV-12', `quorum.${predicate}`, `at least ${persons} persons of role ${role}`, String(holders));
    }
  }
}

function checkEdges(root: TrustRoot): void {
  const floor = root.mode === 'production' ? PRODUCTION_REVIEW_FLOOR_SECONDS : 0;
  if (root.reviewFloorSeconds < floor) {
    refuse('GV-13', 'reviewFloorSeconds', `at least ${floor}`, String(root.reviewFloorSeconds));
  }
  const seen = new Set<string>();
  for (const { from, to, reviewSeconds } of root.edges) {
    const field = `edges.${from}-${to}`;
    if (PHASES.indexOf(to) !== PHASES.indexOf(from) + 1) {
      refuse('GV-14', field, 'an edge to the next phase', `${from} to ${to}`);
    }
    if (seen.has(from)) refuse('GV-14', field, 'each edge once', 'one given twice');
    seen.add(from);
    if (reviewSeconds < root.reviewFloorSeconds) {
      refuse('GV-13', field, `a review of at least ${root.reviewFloorSeconds} s`, `${reviewSeconds} s`);
    }
  }
}
