import { describe, expect, it } from 'vitest';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { statementEntry } from '../../src/governance/entries.ts';
import { applyEntry, replay } from '../../src/governance/fold.ts';
import { PENDING_SECONDS } from '../../src/governance/quorum.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { signEnvelope } from '../../src/platform/dsse.ts';
import {
  DAY,
  digestOf,
  ExampleLog,
  exampleGenesis,
  exampleGrant,
  exampleDevice,
  examplePredicates as examples,
  predicateOf,
  readyLog,
  signerOf,
  signers,
} from '../support/governance.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';

const { anna, annaAtHome, bert, cleo, dora, mallory } = signers;
const manifestDigest = digestOf('manifest');
/** When a statement is made that replaces one of the examples. */
const LATER = examples.accreditation.statedAt + 1;

async function heldLog() {
  const log = await readyLog();
  const effects = await log.say('hold/v1', examples.hold, [dora]);
  const held = effects.find((effect) => effect.effect === 'held');
  return { log, hold: held!.hold };
}

describe('quorum', () => {
  it('GV-20: a statement takes effect with the second person, in either order', async () => {
    for (const order of [
      [anna, bert],
      [bert, anna],
    ]) {
      const log = new ExampleLog();
      await log.say('model-version/v1', examples.model, order.slice(0, 1));
      expect(log.state.models.size).toBe(0);
      const effects = await log.say('model-version/v1', examples.model, order.slice(1));
      expect(effects.map(({ effect }) => effect)).toEqual(['signature-counted', 'model-registered']);
      expect(log.state.models.get(manifestDigest)?.phase).toBe('sealed');
      expect(log.state.pending.size).toBe(0);
    }
  });

  it('GV-20: two keys of one person count once', async () => {
    const log = new ExampleLog();
    await log.say('model-version/v1', examples.model, [anna]);
    const again = () => log.say('model-version/v1', examples.model, [annaAtHome]);
    expect(await refusalCodeAsync(again)).toBe('governance-statement-replayed');
    expect(log.state.models.size).toBe(0);
  });

  it('GV-20: signatures under two statements of the same content do not add up', async () => {
    const log = new ExampleLog();
    await log.say('model-version/v1', examples.model, [anna]);
    await log.say('model-version/v1', { ...examples.model, statedAt: 1 }, [bert]);
    expect(log.state.models.size).toBe(0);
  });

  it('GV-21: neither a stranger nor a person of another role counts', async () => {
    const log = new ExampleLog();
    const say = (by: typeof anna) =>
      refusalCodeAsync(() => log.say('model-version/v1', examples.model, [by]));
    expect(await say(mallory)).toBe('dsse-threshold');
    expect(await say(dora)).toBe('governance-role-missing');
  });

  it('GV-22, GV-23: a replayed envelope is refused, before and after its statement took effect', async () => {
    const log = await readyLog();
    for (const entry of log.entries.filter(({ type }) => type === 'statement')) {
      const replayed = { ...entry, at: log.at };
      expect(refusalCode(() => applyEntry(log.state, replayed, log.state.size))).toBe(
        'governance-statement-settled',
      );
    }
    expect(await refusalCodeAsync(() => log.say('promotion/v1', examples.toResearch, [cleo]))).toBe(
      'governance-statement-settled',
    );
  });

  it('GV-24: a statement lapses after 30 days', async () => {
    const log = new ExampleLog();
    await log.say('model-version/v1', examples.model, [anna]);
    log.at += PENDING_SECONDS + 1;
    const late = () => log.say('model-version/v1', examples.model, [bert]);
    expect(await refusalCodeAsync(late)).toBe('governance-statement-lapsed');
    log.at -= 1;
    await late();
    expect(log.state.models.size).toBe(1);
  });

  it('GV-5: a payload of another type is refused although its signature holds', async () => {
    const log = new ExampleLog();
    const envelope = await signEnvelope('application/json', new Uint8Array(2), [anna]);
    expect(refusalCode(() => log.append(statementEntry(log.at, envelope)))).toBe('dsse-payload-type');
  });
});

describe('phases', () => {
  it('GV-29: day 29 is refused, day 30 accepted, and the refused signature can come again', async () => {
    const log = new ExampleLog(exampleGenesis('production'));
    await log.say('model-version/v1', examples.model);
    log.at += 30 * DAY - 1;
    await log.say('promotion/v1', examples.toResearch, [anna]);
    const second = () => log.say('promotion/v1', examples.toResearch, [bert]);
    expect(await refusalCodeAsync(second)).toBe('governance-review-open');
    expect(log.state.models.get(manifestDigest)?.phase).toBe('sealed');
    log.at += 1;
    await second();
    expect(log.state.models.get(manifestDigest)?.phase).toBe('research');
  });

  it('GV-29: the review for enterprise counts from research, not from what a statement says', async () => {
    const log = await readyLog(exampleGenesis('production'));
    const toEnterprise = { ...examples.toResearch, from: 'research', to: 'enterprise', statedAt: 1 };
    log.at += 90 * DAY - 1;
    await log.say('promotion/v1', toEnterprise, [cleo]);
    expect(await refusalCodeAsync(() => log.say('promotion/v1', toEnterprise, [bert]))).toBe(
      'governance-review-open',
    );
    log.at += 1;
    await log.say('promotion/v1', toEnterprise, [bert]);
    expect(log.state.models.get(manifestDigest)?.phase).toBe('enterprise');
  });

  it('GV-28: no edge, no model, another phase', async () => {
    const log = await readyLog();
    const promote = (change: object) =>
      refusalCodeAsync(() => log.say('promotion/v1', { ...examples.toResearch, statedAt: 2, ...change }));
    expect(await promote({ to: 'enterprise' })).toBe('governance-edge-missing');
    expect(await promote({ from: 'research', to: 'sealed' })).toBe('governance-edge-missing');
    expect(await promote({ manifestDigest: digestOf('other') })).toBe('governance-model-unknown');
    expect(await promote({})).toBe('governance-phase-mismatch');
  });

  it('GV-27: a registration is never repeated nor changed', async () => {
    const log = await readyLog();
    const register = (change: object) =>
      refusalCodeAsync(() => log.say('model-version/v1', { ...examples.model, statedAt: 2, ...change }));
    expect(await register({ version: '2.0' })).toBe('governance-model-registered');
    expect(await register({ manifestDigest: digestOf('other') })).toBe('governance-model-registered');
    expect(await register({ manifestDigest: digestOf('other'), variant: 'base' })).toBe('accepted');
  });
});

describe('holds', () => {
  it('GV-21: any one person of the trust root stops; a stranger does not', async () => {
    for (const signer of [anna, annaAtHome, dora]) {
      const log = await readyLog();
      await log.say('hold/v1', examples.hold, [signer]);
      expect(log.state.holds.size).toBe(1);
    }
    const log = await readyLog();
    expect(await refusalCodeAsync(() => log.say('hold/v1', examples.hold, [mallory]))).toBe('dsse-threshold');
  });

  it('GV-30: what is held is not promoted, by its own hold or one of all', async () => {
    for (const target of [examples.hold.target, { kind: 'all', id: 'all' }]) {
      const log = await readyLog();
      await log.say('hold/v1', { ...examples.hold, target }, [dora]);
      const toEnterprise = { ...examples.toResearch, from: 'research', to: 'enterprise' };
      expect(await refusalCodeAsync(() => log.say('promotion/v1', toEnterprise))).toBe('governance-held');
    }
  });

  it('GV-33: resuming needs the quorum', async () => {
    const { log, hold } = await heldLog();
    const resume = { holds: [hold], reason: 'resolved', statedAt: 1 };
    await log.say('resume/v1', resume, [anna]);
    expect(log.state.holds.size).toBe(1);
    await log.say('resume/v1', resume, [bert]);
    expect(log.state.holds.size).toBe(0);
  });

  it('GV-33: a hold that comes while a resume is being signed stays in force', async () => {
    const { log, hold } = await heldLog();
    const resume = { holds: [hold], reason: 'resolved', statedAt: 1 };
    await log.say('resume/v1', resume, [anna]);
    await log.say('hold/v1', { ...examples.hold, reason: 'another finding' }, [dora]);
    await log.say('resume/v1', resume, [bert]);
    expect([...log.state.holds.values()].map(({ reason }) => reason)).toEqual(['another finding']);
  });

  it('GV-33: only holds in force can be lifted, each once', async () => {
    const { log, hold } = await heldLog();
    const resume = (holds: readonly string[]) =>
      refusalCodeAsync(() => log.say('resume/v1', { holds, reason: 'resolved', statedAt: 1 }));
    expect(await resume([digestOf('no hold')])).toBe('governance-hold-unknown');
    expect(await resume([hold, hold])).toBe('governance-hold-unknown');
    expect(log.state.holds.size).toBe(1);
    expect(await resume([hold])).toBe('accepted');
  });

  it('GV-23: the same words can be said again later, as a new statement', async () => {
    const { log, hold } = await heldLog();
    await log.say('resume/v1', { holds: [hold], reason: 'resolved', statedAt: 1 });
    await log.say('hold/v1', { ...examples.hold, statedAt: log.at }, [dora]);
    expect(log.state.holds.size).toBe(1);
  });
});

describe('labs, policies and reference values', () => {
  it('GV-25: an accreditation that has ended is refused', async () => {
    const log = new ExampleLog();
    const ended = { ...examples.accreditation, endsAt: log.at };
    expect(await refusalCodeAsync(() => log.say('lab-accreditation/v1', ended))).toBe(
      'governance-accreditation',
    );
  });

  it('GV-25: a new accreditation replaces the whole of the one before', async () => {
    const log = await readyLog();
    await log.say('lab-accreditation/v1', { ...examples.accreditation, machines: [], statedAt: LATER });
    expect(refusalCode(() => log.enrol())).toBe('governance-accreditation');
  });

  it('GV-37: a signature kept back brings no older accreditation into force again', async () => {
    const log = await readyLog();
    const older = { ...examples.accreditation, machines: [], statedAt: LATER };
    await log.say('lab-accreditation/v1', older, [anna]);
    await log.say('lab-accreditation/v1', { ...examples.accreditation, statedAt: LATER + 1 });
    const kept = log.say('lab-accreditation/v1', older, [bert]);
    expect(await refusalCodeAsync(() => kept)).toBe('governance-accreditation');
  });

  it('GV-49: no grant to a machine that was struck from the accreditation', async () => {
    const log = await readyLog();
    expect(refusalCode(() => log.append(exampleGrant(log.state, log.at)))).toBe('accepted');
    await log.say('lab-accreditation/v1', { ...examples.accreditation, machines: [], statedAt: LATER });
    expect(refusalCode(() => log.append(exampleGrant(log.state, log.at)))).toBe(
      'governance-decision-illegal',
    );
  });

  it('GV-26: a key of a lab stands for nobody else', async () => {
    const log = await readyLog();
    const other = { ...examples.accreditation, lab: 'lab-two' };
    const accredit = (publicKey: Uint8Array) =>
      refusalCodeAsync(() =>
        log.say('lab-accreditation/v1', { ...other, publicKeys: [toBase64(publicKey)] }),
      );
    expect(await accredit(signerOf('lab one').publicKey)).toBe('governance-key-taken');
    expect(await accredit(anna.publicKey)).toBe('governance-key-taken');
    expect(await accredit(signerOf('lab two').publicKey)).toBe('accepted');
  });

  it('GV-32: epochs rise', async () => {
    const log = await readyLog();
    const policy = { ...examples.releasePolicy, statedAt: 2 };
    expect(await refusalCodeAsync(() => log.say('release-policy/v1', policy))).toBe('governance-epoch-stale');
    await log.say('release-policy/v1', { ...policy, epoch: 2 });
    await log.say('reference-values/v1', examples.referenceValues);
    const values = { ...examples.referenceValues, statedAt: 2 };
    expect(await refusalCodeAsync(() => log.say('reference-values/v1', values))).toBe(
      'governance-epoch-stale',
    );
    expect(await refusalCodeAsync(() => log.say('reference-values/v1', { ...values, name: 'b' }))).toBe(
      'accepted',
    );
  });
});

describe('enrolments and order', () => {
  it('GV-40, GV-42: an attestation key stays with its lab and endorsement key', async () => {
    const log = await readyLog();
    log.enrol();
    expect(refusalCode(() => log.enrol())).toBe('accepted');
    const other = { endorsementKeyDigest: digestOf('other') };
    expect(refusalCode(() => log.enrol('new key', false, other))).toBe('governance-accreditation');
    const twoMachines = [
      ...examples.accreditation.machines,
      { name: 'rack-2', endorsementKeyDigest: digestOf('other') },
    ];
    await log.say('lab-accreditation/v1', {
      ...examples.accreditation,
      machines: twoMachines,
      statedAt: LATER,
    });
    expect(refusalCode(() => log.enrol('attestation key', false, other))).toBe(
      'governance-enrolment-conflict',
    );
    expect(refusalCode(() => log.enrol('new key', false, other))).toBe('accepted');
  });

  it('GV-41: simulated hardware is enrolled in evaluation only', async () => {
    const evaluation = await readyLog();
    expect(refusalCode(() => evaluation.enrol('a', true))).toBe('accepted');
    const production = await readyLog(exampleGenesis('production'));
    expect(refusalCode(() => production.enrol('a', true))).toBe('governance-simulated');
  });

  it('GV-2, GV-3: one genesis, first; no gap; no time that goes back', async () => {
    const log = await readyLog();
    expect(refusalCode(() => log.append(exampleGenesis()))).toBe('governance-entry-order');
    expect(refusalCode(() => log.append({ ...exampleGenesis(), at: log.at }))).toBe('governance-genesis');
    const [envelope] = await signByEach(makeStatement('hold/v1', predicateOf('hold/v1', examples.hold)), [
      anna,
    ]);
    const entry = statementEntry(log.at - 1, envelope!);
    expect(refusalCode(() => log.append(entry))).toBe('governance-entry-order');
    const inTime = statementEntry(log.at, envelope!);
    expect(refusalCode(() => applyEntry(log.state, inTime, log.state.size + 1))).toBe(
      'governance-entry-order',
    );
    expect(refusalCode(() => replay([]))).toBe('governance-genesis');
    expect(refusalCode(() => replay([inTime]))).toBe('governance-genesis');
  });
});

describe('decisions in the log', () => {
  const illegal = 'governance-decision-illegal';

  async function check(change: object, mode: 'evaluation' | 'production' = 'evaluation') {
    const log = await readyLog(exampleGenesis(mode));
    return refusalCode(() => log.append({ ...exampleGrant(log.state, log.at), ...change }));
  }

  it('a right grant and a right refusal are accepted', async () => {
    expect(await check({})).toBe('accepted');
    const refusals = [{ code: 'policy-refused', field: 'releasePolicy' }];
    expect(await check({ outcome: 'refused', lease: null, refusals, lab: 'nobody' })).toBe('accepted');
  });

  it('GV-44: what it was judged by must be what was in force', async () => {
    expect(await check({ phase: 'enterprise' })).toBe(illegal);
    expect(await check({ phase: null })).toBe(illegal);
    expect(await check({ referenceValuesDigest: digestOf('x') })).toBe(illegal);
    expect(await check({ releasePolicyDigest: null })).toBe(illegal);
  });

  it('GV-45: grants and refusals are not mixed', async () => {
    expect(await check({ lease: null })).toBe(illegal);
    expect(await check({ refusals: [{ code: 'x', field: 'y' }] })).toBe(illegal);
    expect(await check({ outcome: 'refused' })).toBe(illegal);
    expect(await check({ outcome: 'refused', lease: null })).toBe(illegal);
  });

  it('GV-46: no grant to a stranger, under another policy, or under a hold', async () => {
    expect(await check({ lab: 'nobody' })).toBe(illegal);
    expect(await check({ manifestDigest: digestOf('x'), phase: null })).toBe(illegal);
    expect(await check({ inferencePolicyDigest: digestOf('x') })).toBe(illegal);
    for (const target of [
      { kind: 'lab', id: 'lab-one' },
      { kind: 'model', id: manifestDigest },
      { kind: 'all', id: 'all' },
    ]) {
      const log = await readyLog();
      await log.say('hold/v1', { ...examples.hold, target }, [dora]);
      expect(refusalCode(() => log.append(exampleGrant(log.state, log.at)))).toBe(illegal);
    }
  });

  it('GV-46: no grant once the accreditation has ended', async () => {
    const log = await readyLog();
    log.at = examples.accreditation.endsAt;
    expect(refusalCode(() => log.append(exampleGrant(log.state, log.at)))).toBe(illegal);
    log.at -= 1;
    expect(refusalCode(() => log.append(exampleGrant(log.state, log.at)))).toBe('accepted');
  });

  it('GV-47: every demanded device, and none simulated in production (W9)', async () => {
    const simulated = { claims: [{ ...exampleDevice, simulated: true }] };
    expect(await check({ claims: [] })).toBe(illegal);
    expect(await check(simulated)).toBe('accepted');
    expect(await check(simulated, 'production')).toBe(illegal);
  });

  it('GV-48: no lease that is longer than the policy gives, empty, or starts in the future', async () => {
    const log = await readyLog();
    const { lease } = exampleGrant(log.state, log.at);
    expect(await check({ lease: { ...lease, endsAt: log.at + 3601 } })).toBe(illegal);
    expect(await check({ lease: { ...lease, endsAt: log.at } })).toBe(illegal);
    expect(await check({ lease: { ...lease, startsAt: log.at + 1 } })).toBe(illegal);
    expect(await check({ lease: { ...lease, renewAfterSeconds: 3601 } })).toBe(illegal);
  });
});
