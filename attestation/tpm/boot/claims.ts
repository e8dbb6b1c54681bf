/** What is true of a boot after its logs were judged (docs/spec/tpm-boot.md, section 6). All of it is JSON: claims are logged. */

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, toHex, toUtf8 } from '../../core/bytes.ts';
import type { SecureBootFacts } from '../event-log/secure-boot.ts';
import type { UefiSignature } from '../event-log/uefi-variable.ts';
import type { TpmHash } from '../hash.ts';
import { certificateOf } from './authority.ts';
import { isKernelCommandLine } from './command-line.ts';
import { knownRecords } from './compare.ts';
import type { BootFacts } from './facts.ts';
import type { LoaderRecord } from './loader.ts';
import type { BootReference } from './reference.ts';
import type { MeasuredSection } from './uki.ts';

/** Entries of a list of keys or hashes: how many, and one digest over all of them. Lists of denied hashes are long. */
export interface KeyListClaims {
  /** How many keys and hashes the list has. */
  readonly entries: number;
  /** SHA-256 over the type, owner and data of each entry, hex. */
  readonly digest: string;
}

export interface AuthorityClaims {
  /** Name of the variable, null where the digest does not cover it. */
  readonly variable: string | null;
  /** As it was measured, in the bank, hex. */
  readonly measured: string;
  /** SHA-256 of the certificate, hex; null where it is none or not covered. */
  readonly certificate: string | null;
}

/** Each member is null where no rule of the policy relies on it. Digests are hex and of the bank unless another hash is named. */
export interface BootClaims {
  /** What PCR 7 says of the checking of signatures. */
  readonly secureBoot: {
    /** Only `enabled` means that signatures were checked; `undefined` is a machine without keys. */
    readonly state: SecureBootFacts['state'];
    /** The variable PK. */
    readonly platformKey: KeyListClaims;
    /** The variable KEK. */
    readonly keyExchangeKeys: KeyListClaims;
    /** The variable db. */
    readonly allowed: KeyListClaims;
    /** The variable dbx. */
    readonly forbidden: KeyListClaims;
    /** Who vouched for drivers and for what was started, in order. */
    readonly authorities: readonly AuthorityClaims[];
  } | null;
  /** Authenticode digests of what was started, in order, hex (PCR 4). */
  readonly images: readonly string[] | null;
  /** What boot loaders and kernel stubs measured. */
  readonly loader: {
    /** Records of PCR 8, 9 and 12. */
    readonly records: number;
    /** Of kernels, those that the reference values allow as texts. */
    readonly commandLines: readonly string[];
  } | null;
  /** The unified kernel image (PCR 11). */
  readonly uki: {
    /** All of them, in the order in which they were measured. */
    readonly sections: readonly MeasuredSection[];
    /** How far userspace had come: `start`, or a phase of systemd. */
    readonly phase: string;
  } | null;
  /** Digests that shim measured of its keys and switches, hex (PCR 14). */
  readonly mok: readonly string[] | null;
  /** Files that the kernel measured, without the boot aggregate. */
  readonly files: number | null;
  /** What the agent measured of itself since the machine started; SHA-256, hex. */
  readonly agent: {
    /** Programs that ran as the agent. */
    readonly programs: readonly string[];
    /** Policies that they were to keep. */
    readonly inferencePolicies: readonly string[];
    /** Manifests of models that they were to serve. */
    readonly modelManifests: readonly string[];
  } | null;
}

/** @param reference the set that the boot matches; null where no rule refers to one */
export function bootClaims(facts: BootFacts, reference: BootReference | null, bank: TpmHash): BootClaims {
  const { secureBoot, images, loader, uki, mok, files } = facts;
  return {
    secureBoot: secureBoot === null ? null : secureBootClaims(secureBoot),
    images,
    loader:
      loader === null
        ? null
        : {
            records: loader.length,
            commandLines: reference === null ? [] : commandLines(loader, reference, bank),
          },
    uki,
    mok,
    files: files === null ? null : files.length - 1,
    agent: agentClaims(facts),
  };
}

/** Where GRUB puts commands beside command lines; in the other registers all texts are command lines. */
const COMMANDS_PCR = 8;

function commandLines(
  loader: readonly LoaderRecord[],
  reference: BootReference,
  bank: TpmHash,
): readonly string[] {
  return knownRecords(loader, reference, bank).flatMap((known, i) => {
    if (known.by !== 'text') return [];
    const isLine = loader[i]?.pcr !== COMMANDS_PCR || isKernelCommandLine(known.text);
    return isLine ? [known.text] : [];
  });
}

function secureBootClaims(facts: SecureBootFacts): NonNullable<BootClaims['secureBoot']> {
  return {
    state: facts.state,
    platformKey: keyListClaims(facts.platformKey),
    keyExchangeKeys: keyListClaims(facts.keyExchangeKeys),
    allowed: keyListClaims(facts.allowed),
    forbidden: keyListClaims(facts.forbidden),
    authorities: [...facts.driverAuthorities, ...facts.authorities].map((authority) => {
      const certificate = certificateOf(authority);
      return {
        variable: authority.variable?.name ?? null,
        measured: toHex(authority.digest),
        certificate: certificate === undefined ? null : toHex(sha256(certificate)),
      };
    }),
  };
}

function keyListClaims(entries: readonly UefiSignature[]): KeyListClaims {
  const digests = entries.map(({ type, owner, data }) =>
    sha256(concatBytes(toUtf8(`${type}${owner}`), data)),
  );
  return { entries: entries.length, digest: toHex(sha256(concatBytes(...digests))) };
}

function agentClaims({ agent }: BootFacts): BootClaims['agent'] {
  if (agent === null) return null;
  const of = (wanted: string): readonly string[] => [
    ...new Set(agent.filter(({ kind }) => kind === wanted).map(({ digest }) => toHex(digest))),
  ];
  return {
    programs: of('agent-program'),
    inferencePolicies: of('inference-policy'),
    modelManifests: of('model-manifest'),
  };
}
