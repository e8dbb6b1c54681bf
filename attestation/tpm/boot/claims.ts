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
  readonly secureBoot: {
    readonly state: SecureBootFacts['state'];
    readonly platformKey: KeyListClaims;
    readonly keyExchangeKeys: KeyListClaims;
    readonly allowed: KeyListClaims;
    readonly forbidden: KeyListClaims;
    readonly authorities: readonly AuthorityClaims[];
  } | null;
  readonly images: readonly string[] | null;
  readonly loader: {
    /** Records of PCR 8, 9 and 12. */
    readonly records: number;
    /** Of kernels, those that the reference values allow as texts. */
    readonly commandLines: readonly string[];
  } | null;
  readonly uki: {
    readonly sections: readonly MeasuredSection[];
    /** How far userspace had come: `start`, or a phase of systemd. */
    readonly phase: string;
  } | null;
  readonly mok: readonly string[] | null;
  /** Files that the kernel measured, without the boot aggregate. */
  readonly files: number | null;
  readonly agent: {
    readonly programs: readonly string[];
    readonly inferencePolicies: readonly string[];
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
