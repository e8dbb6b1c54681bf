/** Rules for what was booted (docs/spec/tpm-boot.md), on a boot that has something for every rule. */

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { concatBytes, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../../attestation/core/canonical-json.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import type { Verdict } from '../../../../attestation/core/verdict.ts';
import type { TpmClaims } from '../../../../attestation/tpm/claims.ts';
import { tpmDeviceClass } from '../../../../attestation/tpm/device-class.ts';
import { EventType } from '../../../../attestation/tpm/event-log/event-types.ts';
import type { MeasurementLogs } from '../../../../attestation/tpm/evidence.ts';
import {
  AGENT_PCR,
  bootMachine,
  CERTIFICATE,
  COMMAND_LINE,
  file,
  GOOD_AGENT,
  GOOD_BOOT,
  GOOD_EVENTS,
  GOOD_FILES,
  GOOD_REFERENCE,
  grubText,
  hashOf,
  hexOf,
  image,
  NO_RULES,
  STRICT_RULES,
} from '../../../support/boot.ts';
import type { Boot } from '../../../support/boot.ts';
import {
  separator,
  sha256Bank,
  variableEvent,
  writeEventLog,
  type WrittenEvent,
} from '../../../support/event-log-writer.ts';
import { makeSoftwareAttester } from '../../../support/software-attester.ts';
import type { SoftwareAttester } from '../../../support/software-attester.ts';

type Document = Readonly<Record<string, JsonValue>>;

interface Question {
  readonly boot?: Partial<Boot>;
  /** Other logs than those of the boot. */
  readonly logs?: Partial<MeasurementLogs>;
  readonly rules?: Document | 'any';
  readonly registers?: 'reference' | 'any';
  readonly reference?: Document | null;
  readonly moreReferences?: readonly Document[];
  readonly pcrs?: readonly number[];
}

const ALL = Array.from({ length: 15 }, (_, pcr) => pcr);

async function verdictOn(question: Question): Promise<Verdict<TpmClaims>> {
  const { registers, logs } = bootMachine({ ...GOOD_BOOT, ...question.boot });
  const pcrs = question.pcrs ?? ALL;
  const quoted = new Map([...registers].filter(([pcr]) => pcrs.includes(pcr)));
  const machine = await makeSoftwareAttester('ecc-p256', quoted);
  return await judgeWith(machine, { ...logs, ...question.logs }, question);
}

async function judgeWith(
  machine: SoftwareAttester,
  logs: Partial<MeasurementLogs>,
  { rules = STRICT_RULES, registers = 'any', reference = GOOD_REFERENCE, moreReferences = [] }: Question,
): Promise<Verdict<TpmClaims>> {
  const [values] = machine.inputs.referenceValues as readonly Document[];
  const own = { ...values, boot: reference, ...(registers === 'any' ? { pcrs: {} } : {}) };
  const evidence = tpmDeviceClass.parse(await machine.evidence(undefined, logs), 'evidence');
  return await tpmDeviceClass.verify(evidence, {
    ...machine.inputs,
    policy: { ...(machine.inputs.policy as Document), registers, boot: rules },
    referenceValues: [
      own,
      ...moreReferences.map((more) => ({ ...values, name: 'more', pcrs: {}, boot: more })),
    ],
  });
}

async function codes(question: Question): Promise<readonly string[]> {
  const verdict = await verdictOn(question);
  return verdict.outcome === 'accepted' ? ['accepted'] : verdict.refusals.map(({ code }) => code);
}

/** The good events with some changed. */
function replacing(
  which: (event: WrittenEvent) => boolean,
  by: (event: WrittenEvent) => WrittenEvent[],
): Boot {
  expect(GOOD_EVENTS.filter(which).length).toBeGreaterThan(0);
  return { ...GOOD_BOOT, events: GOOD_EVENTS.flatMap((event) => (which(event) ? by(event) : [event])) };
}

const only = (name: string, rule: JsonValue = 'reference'): Document => ({ ...NO_RULES, [name]: rule });

describe('a good boot', () => {
  it('BC-19 to BC-21: is accepted by rules that demand everything, and its claims tell it', async () => {
    const verdict = await verdictOn({});
    if (verdict.outcome !== 'accepted') throw new Error(JSON.stringify(verdict.refusals));
    const certificate = toHex(sha256Bank.digest(CERTIFICATE));
    expect(verdict.claims.boot).toMatchObject({
      secureBoot: {
        state: 'enabled',
        forbidden: { entries: 2 },
        authorities: [{ variable: 'db', certificate }],
      },
      images: ['shim', 'GRUB', 'kernel'].map(hexOf),
      loader: { records: 6, commandLines: [COMMAND_LINE, 'quiet', ' console=ttyS0'] },
      uki: { sections: [{ section: '.linux' }, { section: '.cmdline' }], phase: 'ready' },
      mok: [hexOf('no keys of the user')],
      files: 2,
      agent: { programs: [hexOf('agent 1.0')], modelManifests: [hexOf('model')] },
    });
    const made = verdict.checks.map(({ id }) => id);
    for (const id of ['event-log-replay', 'tpm-boot-secure-boot', 'tpm-boot-signer', 'tpm-boot-revocations'])
      expect(made).toContain(id);
    for (const id of ['image', 'loader', 'uki', 'mok', 'agent', 'agent-subject', 'agent-log', 'logs'])
      expect(made).toContain(`tpm-boot-${id}`);
  });

  it.each(Object.keys(STRICT_RULES))(
    'BC-7: is accepted by %s alone, and nothing else is claimed',
    async (name) => {
      const byReference = STRICT_RULES[name] === 'reference' || name === 'agent';
      const rules = {
        ...only(name, STRICT_RULES[name] ?? null),
        ...(byReference ? {} : { images: 'reference' }),
      };
      const logs = {
        ...(name === 'files' || name === 'agent' ? { eventLog: null } : {}),
        ...(name === 'files' ? {} : { imaList: null }),
        ...(name === 'agent' ? {} : { agentLog: null }),
      };
      const verdict = await verdictOn({ rules, logs });
      if (verdict.outcome !== 'accepted') throw new Error(JSON.stringify(verdict.refusals));
      const told = Object.entries(verdict.claims.boot ?? {}).filter(([, claim]) => claim !== null);
      const expected = ['secureBoot', 'signers', 'revoked'].includes(name)
        ? ['secureBoot', 'images']
        : [name];
      expect(told.map(([member]) => member)).toEqual(expected);
    },
  );

  it('BC-9: registers and rules together', async () => {
    expect(await codes({ registers: 'reference' })).toEqual(['accepted']);
  });

  it.each([
    [[]],
    [['enter-initrd']],
    [['enter-initrd', 'leave-initrd', 'sysinit', 'ready', 'shutdown', 'final']],
  ])('BC-12: userspace got to %j', async (phases) => {
    const verdict = await verdictOn({ boot: { phases } });
    expect(verdict).toMatchObject({ claims: { boot: { uki: { phase: phases.at(-1) ?? 'start' } } } });
  });

  it('BC-20: files of several sets count together', async () => {
    const { files, ...others } = GOOD_REFERENCE;
    const [first, second] = Object.entries(files as Document).map(([path, digests]) => ({ [path]: digests }));
    const empty = { images: [], loader: { digests: [], texts: [] }, uki: [], mok: [], agentPrograms: [] };
    const reference = { ...others, files: first ?? {} };
    expect(await codes({ reference })).toEqual(['ima-file']);
    expect(await codes({ reference, moreReferences: [{ ...empty, files: second ?? {} }] })).toEqual([
      'accepted',
    ]);
  });
});

describe('another boot', () => {
  const isImage = ({ type, digest }: WrittenEvent): boolean =>
    type === EventType.efiBootServicesApplication && digest !== undefined;
  const withVariable = (name: string, data: Uint8Array): Boot =>
    replacing(
      (event) => event.pcr === 7 && new TextDecoder('utf-16le').decode(event.data.slice(32, 52)) === name,
      () => [variableEvent(name, data)],
    );

  it.each<[string, string, Partial<Boot>]>([
    ['Secure Boot off', 'tpm-boot-secure-boot', withVariable('SecureBoot', Uint8Array.of(0))],
    ['Secure Boot undefined', 'tpm-boot-secure-boot', withVariable('SecureBoot', new Uint8Array(0))],
    [
      'audit mode',
      'tpm-boot-secure-boot',
      replacing(
        ({ pcr, type }) => pcr === 7 && type === EventType.separator,
        (event) => [variableEvent('AuditMode', Uint8Array.of(1)), event],
      ),
    ],
    [
      'another signer',
      'tpm-boot-signer',
      replacing(
        ({ type }) => type === EventType.efiVariableAuthority,
        (event) => [event, { ...event, data: concatBytes(event.data.slice(0, -1), Uint8Array.of(8)) }],
      ),
    ],
    [
      'a signer that its digest does not cover',
      'tpm-boot-signer',
      replacing(
        ({ type }) => type === EventType.efiVariableAuthority,
        (event) => [{ ...event, digest: hashOf('something') }],
      ),
    ],
    ['one more image', 'tpm-boot-image', { events: [...GOOD_EVENTS, image('malware')] }],
    ['no image', 'tpm-boot-image', replacing(isImage, () => [])],
    ['another initrd', 'tpm-boot-loader', { events: [...GOOD_EVENTS, file(9, '(hd0,gpt2)/initrd', 'mine')] }],
    ['another command', 'tpm-boot-loader', { events: [...GOOD_EVENTS, grubText('grub_cmd', 'insmod evil')] }],
    [
      'a command line by another name',
      'tpm-boot-loader',
      { events: [...GOOD_EVENTS, grubText('grub_cmd', '/vmlinuz init=/bin/sh')] },
    ],
    [
      'a parameter too many',
      'tpm-boot-loader',
      { events: [...GOOD_EVENTS, grubText('kernel_cmdline', '/vmlinuz root=x ro init=/bin/sh')] },
    ],
    [
      'a blank that only Linux knows',
      'tpm-boot-loader',
      { events: [...GOOD_EVENTS, grubText('kernel_cmdline', '/vmlinuz root=x\u00a0init=/bin/sh')] },
    ],
    [
      'a quotation that swallows words',
      'tpm-boot-loader',
      { events: [...GOOD_EVENTS, grubText('kernel_cmdline', '/vmlinuz root=" ro')] },
    ],
    ['credentials', 'tpm-boot-loader', { events: [...GOOD_EVENTS, file(12, 'credential', 'secret')] }],
    [
      'a key of the user in shim',
      'tpm-boot-mok',
      { events: [...GOOD_EVENTS, file(14, 'MokList', 'my key')] },
    ],
    [
      'another agent',
      'tpm-boot-agent',
      { agent: [...GOOD_AGENT, { kind: 'agent-program', digest: hashOf('2') }] },
    ],
    ['no agent', 'tpm-boot-agent', { agent: GOOD_AGENT.slice(1) }],
    [
      'an agent that served something else before',
      'tpm-boot-agent-subject',
      { agent: [...GOOD_AGENT, { kind: 'inference-policy', digest: hashOf('anything goes') }] },
    ],
    ['another file', 'ima-file', { files: { ...GOOD_FILES, '/tmp/shell': 'shell' } }],
    ['other content', 'ima-file', { files: { ...GOOD_FILES, '/sbin/init': 'mine' } }],
  ])('BC-19 to BC-21: %s is refused', async (_, code, boot) => {
    expect(await codes({ boot })).toEqual([code]);
  });

  it('BC-20: sections are compared as a whole', async () => {
    const of = (pcr: number) => (event: WrittenEvent) => event.pcr === pcr;
    const [name, content, secondName, second] = GOOD_EVENTS.filter(of(11));
    const rest = GOOD_EVENTS.filter((event) => event.pcr !== 11);
    for (const events of [
      [],
      [name, content],
      [secondName, second, name, content],
      [name, second, secondName, content],
      [name, content, secondName, second, name, content],
    ]) {
      const boot = { events: [...rest, ...events.flatMap((event) => event ?? [])] };
      expect(await codes({ boot })).toEqual(['tpm-boot-uki']);
    }
  });

  it('BC-19: the deny list lacks an entry', async () => {
    const rules = { ...STRICT_RULES, revoked: [hexOf('old'), hexOf('newer')] };
    expect(await codes({ rules })).toEqual(['tpm-boot-revocations']);
    expect(await codes({ rules: { ...STRICT_RULES, revoked: [hexOf('old')] } })).toEqual(['accepted']);
  });

  it('BC-22: a set that states nothing of boots, or of registers, is not matched', async () => {
    expect(
      await codes({ rules: only('images'), reference: null, logs: { imaList: null, agentLog: null } }),
    ).toEqual(['tpm-document']);
    const registers = 'reference';
    const logs = { imaList: null, agentLog: null };
    expect(await codes({ rules: only('images'), registers, reference: null, logs })).toEqual([
      'tpm-reference-missing',
    ]);
  });

  it('reports all that is wrong at once', async () => {
    const boot = {
      events: [...GOOD_EVENTS, image('malware'), file(14, 'MokList', 'my key')],
      files: { '/x': 'x' },
    };
    expect(await codes({ boot })).toEqual(['ima-file', 'tpm-boot-image', 'tpm-boot-mok']);
  });
});

describe('logs that do not tell the truth', () => {
  const record = (pcr: number, type: number, data: Uint8Array, digest?: Uint8Array): WrittenEvent => ({
    pcr,
    type,
    data,
    ...(digest === undefined ? {} : { digest }),
  });

  it.each<[string, string, WrittenEvent]>([
    [
      'an image by the name of a remark',
      'tpm-boot-record',
      record(4, EventType.efiAction, toUtf8('Calling'), hashOf('x')),
    ],
    [
      'a small image as the text of a remark',
      'tpm-boot-record',
      record(4, EventType.efiAction, toUtf8('MZ\u0001 all that its digest covers')),
    ],
    ['a record of an unknown type', 'tpm-boot-record', record(4, 0x1234, toUtf8('x'))],
    ['a second separator', 'event-log-separator', separator(4)],
    [
      'a variable of the firmware behind the separator',
      'event-log-secure-boot-record',
      variableEvent('db', hashOf('x')),
    ],
    ['an action among files', 'tpm-boot-record', record(9, EventType.efiAction, toUtf8('x'))],
    ['an action among the keys of shim', 'tpm-boot-record', record(14, EventType.efiAction, toUtf8('x'))],
    ['half a section', 'tpm-boot-record', record(11, EventType.ipl, toUtf8('.initrd'), hashOf('.initrd\0'))],
  ])('BC-14 to BC-17: %s is refused', async (_, code, event) => {
    expect(await codes({ boot: { events: [...GOOD_EVENTS, event] } })).toEqual([code]);
  });

  it('BC-15: an image before the separator is refused', async () => {
    expect(await codes({ boot: { events: [image('shim'), ...GOOD_EVENTS] } })).toEqual(['tpm-boot-record']);
  });

  it('BC-12: a register that the log does not lead to is refused', async () => {
    for (const pcr of [0, 4, 7, 8, 9, 11, 12, 14]) {
      const eventLog = writeEventLog([...GOOD_EVENTS, file(pcr, 'x', 'x')]);
      expect(await codes({ logs: { eventLog } }), `PCR ${pcr}`).toEqual(['event-log-replay']);
      const shorter = writeEventLog(GOOD_EVENTS.filter((event) => event.pcr !== pcr));
      expect(await codes({ logs: { eventLog: shorter } }), `PCR ${pcr}`).toEqual(['event-log-replay']);
    }
  });

  it('BC-12: userspace that extends PCR 11 otherwise is refused', async () => {
    for (const phases of [['leave-initrd'], ['enter-initrd', 'ready'], ['x']]) {
      expect(await codes({ boot: { phases } })).toEqual(['event-log-replay']);
    }
  });

  it('BC-12: a register of the firmware that nothing extends is refused', async () => {
    const events = GOOD_EVENTS.filter(({ pcr }) => pcr !== 0);
    expect(await codes({ boot: { events } })).toEqual(['event-log-replay']);
  });

  it('BC-18: an agent’s log that does not lead to its register is refused', async () => {
    const { logs } = bootMachine({ ...GOOD_BOOT, agent: GOOD_AGENT.slice(0, 1) });
    expect(await codes({ logs: { agentLog: logs.agentLog } })).toEqual(['tpm-boot-agent-log']);
    const other = { ...STRICT_RULES, agent: { ...(STRICT_RULES['agent'] as Document), pcr: 9 } };
    expect(await codes({ rules: other })).toEqual(['tpm-boot-agent-log']);
  });

  it('BC-18: a measurement list of another boot is refused', async () => {
    const { logs } = bootMachine({ ...GOOD_BOOT, files: { '/sbin/init': 'init' } });
    expect(await codes({ logs: { imaList: logs.imaList } })).toEqual(['ima-replay']);
  });

  it.each<[string, Partial<MeasurementLogs>]>([
    ['no event log', { eventLog: null }],
    ['no measurement list', { imaList: null }],
    ['no log of the agent', { agentLog: null }],
  ])('BC-1: %s where one is asked for is refused', async (_, logs) => {
    expect(await codes({ logs })).toEqual(['tpm-boot-logs']);
  });

  it('BC-1: a log that nobody asks for is refused', async () => {
    const asked = { rules: only('images'), logs: { imaList: null, agentLog: null } };
    expect(await codes(asked)).toEqual(['accepted']);
    expect(await codes({ ...asked, logs: { agentLog: null } })).toEqual(['tpm-boot-logs']);
    expect(await codes({ rules: 'any', registers: 'reference', reference: null })).toEqual(['tpm-boot-logs']);
  });

  it('BC-13: a log without digests of the bank is refused', async () => {
    const legacy = Uint8Array.from(Buffer.from(`0000000008000000${'11'.repeat(20)}00000000`, 'hex'));
    expect(await codes({ logs: { eventLog: legacy } })).toEqual(['event-log-bank']);
    expect(await codes({ logs: { eventLog: new Uint8Array(0) } })).toEqual(['event-log-size']);
  });
});

describe('policies', () => {
  it.each<[string, Question]>([
    ['rules that demand nothing', { rules: NO_RULES, registers: 'reference' }],
    ['nothing that reference values decide', { rules: 'any' }],
    ['Secure Boot alone', { rules: only('secureBoot', 'required') }],
    ['a rule whose register is not quoted', { rules: only('uki'), pcrs: ALL.filter((pcr) => pcr !== 11) }],
    ['a rule without PCR 0', { rules: only('uki'), pcrs: [11] }],
    ['files without PCR 10', { rules: only('files'), pcrs: ALL.slice(0, 10) }],
    ['an agent whose register is not quoted', { pcrs: ALL.filter((pcr) => pcr !== AGENT_PCR) }],
  ])('BC-4, BC-7, BC-9: %s are refused', async (_, question) => {
    expect(await codes(question)).toEqual(['tpm-document']);
  });

  it.each(Object.keys(STRICT_RULES))('BC-4: rules without %s are refused', async (name) => {
    const { [name]: _, ...rules } = STRICT_RULES;
    expect(await codes({ rules })).toEqual(['shape-member']);
  });

  it.each<[string, JsonValue]>([
    ['secureBoot', 'reference'],
    ['signers', []],
    ['signers', ['00']],
    ['revoked', [toHex(new Uint8Array(48))]],
    ['images', 'required'],
    ['agent', { pcr: 7, inferencePolicies: 'any', modelManifests: 'any' }],
    ['agent', { pcr: 13, inferencePolicies: [], modelManifests: 'any' }],
  ])('BC-5, BC-6: the rule %s cannot be %j', async (name, rule) => {
    expect(await codes({ rules: { ...STRICT_RULES, [name]: rule } })).toEqual(['shape-value']);
  });
});

describe('any change', () => {
  const { registers, logs } = bootMachine(GOOD_BOOT);
  let machine: SoftwareAttester;
  beforeAll(async () => {
    machine = await makeSoftwareAttester('ecc-p256', registers);
  });

  it.each(['eventLog', 'imaList', 'agentLog'] as const)(
    'BC-12, BC-14: of a byte of %s is refused, or changes nothing that is claimed',
    async (name) => {
      const good = await judgeWith(machine, logs, {});
      if (good.outcome !== 'accepted') throw new Error('refused');
      await fc.assert(
        fc.asyncProperty(
          fc.nat(logs[name].length - 1),
          fc.integer({ min: 1, max: 255 }),
          async (at, change) => {
            const altered = logs[name].map((byte, i) => (i === at ? byte ^ change : byte));
            const verdict = await judgeWith(machine, { ...logs, [name]: altered }, {});
            if (verdict.outcome === 'accepted') expect(verdict.claims.boot).toEqual(good.claims.boot);
          },
        ),
        { numRuns: 150 },
      );
    },
    30_000,
  );

  it('BC-14: of a digest of a record is refused', async () => {
    const relied = GOOD_EVENTS.map((event, i) => ({ event, i })).filter(({ event }) =>
      [0, 4, 7, 8, 9, 11, 12, 14].includes(event.pcr),
    );
    for (const { event, i } of relied) {
      const events = GOOD_EVENTS.map((event, k) =>
        k === i ? { ...event, digest: hashOf(`other ${i}`) } : event,
      );
      // PCR 0 has to be explained; what is in it is for its reference values.
      if (event.pcr !== 0) expect(await codes({ boot: { events } }), `event ${i}`).not.toContain('accepted');
      const verdict = await judgeWith(machine, { ...logs, eventLog: writeEventLog(events) }, {});
      expect(verdict.outcome, `event ${i}`).toBe('refused');
    }
  });

  it('logs of any bytes are refused, and nothing is thrown', async () => {
    const name = fc.constantFrom('eventLog' as const, 'imaList' as const, 'agentLog' as const);
    await fc.assert(
      fc.asyncProperty(name, fc.uint8Array({ maxLength: 300 }), async (log, bytes) => {
        const verdict = await judgeWith(machine, { ...logs, [log]: bytes }, {});
        expect(verdict.outcome).toBe('refused');
      }),
      { numRuns: 100 },
    );
  }, 30_000);

  it('BC-1: a log above its limit is refused by its length', async () => {
    const evidence = (await machine.evidence(undefined, logs)) as Document;
    const large = 'A'.repeat(4 * 600 * 1024);
    for (const name of ['eventLog', 'agentLog']) {
      expect(() => tpmDeviceClass.parse({ ...evidence, [name]: large }, 'evidence')).toThrow(RefusalError);
    }
    expect(() => tpmDeviceClass.parse({ ...evidence, imaList: large }, 'evidence')).not.toThrow();
  });
});
