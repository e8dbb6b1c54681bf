/** A boot of a machine with everything that rules can ask about, for tests that change one thing of it. */

import { sha1 } from '@noble/hashes/legacy.js';

import { concatBytes, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { encode } from '../../attestation/core/layout.ts';
import { writeAgentLog } from '../../attestation/tpm/agent-log/read.ts';
import type { AgentEvent } from '../../attestation/tpm/agent-log/read.ts';
import { replayAgentLog } from '../../attestation/tpm/agent-log/replay.ts';
import { EventType } from '../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../attestation/tpm/event-log/replay.ts';
import { UefiSignatureType } from '../../attestation/tpm/event-log/uefi-variable.ts';
import type { MeasurementLogs } from '../../attestation/tpm/evidence.ts';
import { imaNgData, imaRecord } from '../../attestation/tpm/ima/layout.ts';
import {
  IMAGE_VENDOR,
  separator,
  sha256Bank,
  signatureListBytes,
  variableBytes,
  variableEvent,
  writeEventLog,
} from './event-log-writer.ts';
import type { WrittenEvent } from './event-log-writer.ts';

export const hashOf = (text: string): Uint8Array => sha256Bank.digest(toUtf8(text));
export const hexOf = (text: string): string => toHex(hashOf(text));

/** A whole DER structure, which stands for a certificate. */
export const CERTIFICATE = Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x07);
export const REVOKED = hashOf('a boot loader with a hole');
export const AGENT_PCR = 13;

const utf16 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(`${text}\0`, 'utf16le'));

export const image = (name: string): WrittenEvent => ({
  pcr: 4,
  type: EventType.efiBootServicesApplication,
  data: toUtf8(`path of ${name}`),
  digest: hashOf(name),
});

/** As GRUB writes it: the digest covers the text behind the label. */
export const grubText = (label: string, text: string): WrittenEvent => ({
  pcr: 8,
  type: EventType.ipl,
  data: toUtf8(`${label}: ${text}\0`),
  digest: hashOf(text),
});

export const file = (pcr: number, label: string, content: string): WrittenEvent => ({
  pcr,
  type: EventType.ipl,
  data: toUtf8(label),
  digest: hashOf(content),
});

const section = (name: string, content: string): readonly WrittenEvent[] => [
  { pcr: 11, type: EventType.ipl, data: toUtf8(name), digest: hashOf(`${name}\0`) },
  { pcr: 11, type: EventType.ipl, data: toUtf8(name), digest: hashOf(content) },
];

const authority: WrittenEvent = {
  pcr: 7,
  type: EventType.efiVariableAuthority,
  data: variableBytes(IMAGE_VENDOR, 'db', concatBytes(new Uint8Array(16).fill(1), CERTIFICATE)),
};

export const COMMAND_LINE = '/vmlinuz root=/dev/vda1 ro lockdown=confidentiality';

/** In the order in which a machine makes them. */
export const GOOD_EVENTS: readonly WrittenEvent[] = [
  { pcr: 0, type: EventType.crtmVersion, data: toUtf8('firmware 1.0') },
  variableEvent('SecureBoot', Uint8Array.of(1)),
  variableEvent('PK', signatureListBytes(UefiSignatureType.x509, [CERTIFICATE])),
  variableEvent('KEK', signatureListBytes(UefiSignatureType.x509, [CERTIFICATE])),
  variableEvent('db', signatureListBytes(UefiSignatureType.x509, [CERTIFICATE]), IMAGE_VENDOR),
  variableEvent('dbx', signatureListBytes(UefiSignatureType.sha256, [hashOf('old'), REVOKED]), IMAGE_VENDOR),
  { pcr: 4, type: EventType.efiAction, data: toUtf8('Calling EFI Application from Boot Option') },
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((pcr) => separator(pcr)),
  authority,
  image('shim'),
  file(14, 'MokList', 'no keys of the user'),
  image('GRUB'),
  grubText('grub_cmd', 'linux /vmlinuz root=/dev/vda1 ro lockdown=confidentiality'),
  file(9, '(hd0,gpt2)/grub.cfg', 'configuration'),
  image('kernel'),
  grubText('kernel_cmdline', COMMAND_LINE),
  file(9, '(hd0,gpt2)/initrd', 'initial file system'),
  {
    pcr: 9,
    type: EventType.eventTag,
    data: toUtf8('LoadOptions'),
    digest: sha256Bank.digest(utf16('quiet')),
  },
  { pcr: 12, type: EventType.ipl, data: utf16(' console=ttyS0') },
  ...section('.linux', 'kernel in the image'),
  ...section('.cmdline', 'its command line'),
];

export const GOOD_AGENT: readonly AgentEvent[] = [
  { kind: 'agent-program', digest: hashOf('agent 1.0') },
  { kind: 'inference-policy', digest: hashOf('baseline') },
  { kind: 'model-manifest', digest: hashOf('model') },
];

export const GOOD_FILES: Readonly<Record<string, string>> = {
  '/sbin/init': 'init',
  '/usr/bin/agent': 'agent',
};

/** What the machine did; a test changes members. */
export interface Boot {
  readonly events: readonly WrittenEvent[];
  /** Extended by userspace into PCR 11. */
  readonly phases: readonly string[];
  readonly agent: readonly AgentEvent[];
  /** Contents by path. */
  readonly files: Readonly<Record<string, string>>;
}

export const GOOD_BOOT: Boot = {
  events: GOOD_EVENTS,
  phases: ['enter-initrd', 'leave-initrd', 'sysinit', 'ready'],
  agent: GOOD_AGENT,
  files: GOOD_FILES,
};

export interface BootedMachine {
  /** PCR 0 to 14. */
  readonly registers: ReadonlyMap<number, Uint8Array>;
  readonly logs: { readonly [Name in keyof MeasurementLogs]: Uint8Array };
}

/** The registers and logs that the machine then has. */
export function bootMachine({ events, phases, agent, files }: Boot): BootedMachine {
  const eventLog = writeEventLog(events);
  const replayed = replayEventLog(readEventLog(eventLog), sha256Bank.algorithm);
  const registers = new Map(
    Array.from({ length: 15 }, (_, pcr) => [pcr, replayed.get(pcr) ?? new Uint8Array(32)] as const),
  );
  const extend = (pcr: number, digest: Uint8Array): void => {
    registers.set(pcr, sha256Bank.digest(concatBytes(registers.get(pcr) ?? new Uint8Array(32), digest)));
  };
  for (const phase of phases) extend(11, hashOf(phase));
  const aggregate = sha256Bank.digest(
    concatBytes(...Array.from({ length: 10 }, (_, pcr) => registers.get(pcr)!)),
  );
  const entries = [
    imaEntry('boot_aggregate', aggregate),
    ...Object.entries(files).map(([path, content]) => imaEntry(path, hashOf(content))),
  ];
  for (const { data } of entries) extend(10, sha256Bank.digest(data));
  const agentLog = writeAgentLog({ events: agent });
  registers.set(AGENT_PCR, replayAgentLog({ events: agent }, sha256Bank));
  return {
    registers,
    logs: { eventLog, imaList: concatBytes(...entries.map(({ bytes }) => bytes)), agentLog },
  };
}

function imaEntry(
  path: string,
  digest: Uint8Array,
): { readonly data: Uint8Array; readonly bytes: Uint8Array } {
  const fields = { digest: concatBytes(toUtf8('sha256:\0'), digest), path: toUtf8(`${path}\0`) };
  const data = encode(imaNgData, fields, 'data');
  const record = { pcr: 10, templateDigest: sha1(data), template: toUtf8('ima-ng'), data };
  return { data, bytes: encode(imaRecord, record, 'record') };
}

/** Rules that demand all there is. */
export const STRICT_RULES: Readonly<Record<string, JsonValue>> = {
  secureBoot: 'required',
  signers: [toHex(sha256Bank.digest(CERTIFICATE))],
  revoked: [toHex(REVOKED)],
  images: 'reference',
  loader: 'reference',
  uki: 'reference',
  mok: 'reference',
  files: 'reference',
  agent: { pcr: AGENT_PCR, inferencePolicies: [hexOf('baseline')], modelManifests: 'any' },
};

export const NO_RULES: Readonly<Record<string, JsonValue>> = Object.fromEntries(
  Object.keys(STRICT_RULES).map((name) => [name, 'any']),
);

/** What reference values say of the good boot, written by hand. */
export const GOOD_REFERENCE: Readonly<Record<string, JsonValue>> = {
  images: ['shim', 'GRUB', 'kernel'].map(hexOf),
  loader: {
    digests: ['configuration', 'initial file system'].map(hexOf),
    texts: [
      { exact: 'linux /vmlinuz root=/dev/vda1 ro lockdown=confidentiality' },
      { words: ['/vmlinuz', 'root=*', 'ro', 'lockdown=confidentiality'] },
      { exact: ' console=ttyS0' },
      { exact: 'quiet' },
    ],
  },
  uki: [
    { section: '.linux', digest: hexOf('kernel in the image') },
    { section: '.cmdline', digest: hexOf('its command line') },
  ],
  mok: [hexOf('no keys of the user')],
  files: { '/sbin/init': [hexOf('init')], '/usr/bin/agent': [hexOf('agent')] },
  agentPrograms: [hexOf('agent 1.0')],
};
