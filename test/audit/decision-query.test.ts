import { describe, expect, it } from 'vitest';

import { queryDecision, type DecisionFilter } from '../../src/audit/decision-query.ts';
import type { FollowedEntry } from '../../src/audit/rule-follower.ts';
import type { DecisionEntry } from '../../src/governance/entries.ts';
import { digestOf, exampleGrant, readyLog } from '../support/governance.ts';

const everything: DecisionFilter = {
  ...{ models: [], labs: [], phases: [], codes: [], deviceClasses: [] },
  ...{ outcome: undefined, since: undefined, until: undefined },
};

const log = await readyLog();
const { at } = log.state;
const grant = exampleGrant(log.state, at);
const refusal: DecisionEntry = {
  ...grant,
  outcome: 'refused',
  lease: null,
  claims: [],
  reasons: [],
  phase: null,
  manifestDigest: digestOf('other'),
  refusals: [{ code: 'policy-refused', field: 'releasePolicy' }],
};

const followed = (entry: FollowedEntry['entry']): FollowedEntry => ({
  ...{ index: 7, entry, before: log.state, effects: [] },
});

describe('a question about decisions', () => {
  it('AU-20: is answered by rows that say where they stand, with the names that the log had then', () => {
    expect(queryDecision(everything, followed(grant))).toMatchObject({
      ...{
        index: 7,
        at,
        outcome: 'granted',
        lab: 'lab-one',
        model: 'tern',
        version: '1.0',
        variant: 'aligned',
      },
      ...{ phase: 'research', deviceClasses: ['tpm'], simulated: false, leaseEndsAt: at + 3600, codes: [] },
    });
    expect(queryDecision(everything, followed(refusal))).toMatchObject({
      ...{
        outcome: 'refused',
        model: null,
        version: null,
        phase: null,
        leaseEndsAt: null,
        codes: ['policy-refused'],
      },
    });
    expect(queryDecision(everything, { ...followed(grant), before: undefined })).toMatchObject({
      model: null,
    });
    for (const entry of log.entries) expect(queryDecision(everything, followed(entry))).toBeUndefined();
  });

  it.each<[Partial<DecisionFilter>, boolean, boolean]>([
    [{}, true, true],
    [{ models: ['tern'] }, true, false],
    [{ models: [digestOf('other')] }, false, true],
    [{ models: ['tern', digestOf('other')] }, true, true],
    [{ models: ['ter'] }, false, false],
    [{ labs: ['lab-one'] }, true, true],
    [{ labs: ['lab-two'] }, false, false],
    [{ phases: ['research', 'public'] }, true, false],
    [{ phases: ['public'] }, false, false],
    [{ outcome: 'granted' }, true, false],
    [{ outcome: 'refused' }, false, true],
    [{ codes: ['policy-refused'] }, false, true],
    [{ codes: ['other'] }, false, false],
    [{ deviceClasses: ['tpm'] }, true, false],
    [{ deviceClasses: ['sev-snp'] }, false, false],
    [{ since: at }, true, true],
    [{ since: at + 1 }, false, false],
    [{ until: at }, false, false],
    [{ until: at + 1 }, true, true],
    [{ labs: ['lab-one'], outcome: 'refused', codes: ['policy-refused'] }, false, true],
    [{ labs: ['lab-two'], outcome: 'refused' }, false, false],
  ])('AU-21: %j fits a grant: %s, a refusal: %s', (filter, isGrant, isRefusal) => {
    const fits = (entry: FollowedEntry['entry']): boolean =>
      queryDecision({ ...everything, ...filter }, followed(entry)) !== undefined;
    expect([fits(grant), fits(refusal)]).toEqual([isGrant, isRefusal]);
  });
});
