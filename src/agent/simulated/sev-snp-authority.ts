/**
 * AMD's hierarchy of keys for SEV-SNP in software: root (ARK), intermediates (ASK, ASVK), and the certificates that
 * they issue, in the form of AMD 57230. Whoever has it can certify any chip, so only a server born in evaluation mode
 * takes its root as an anchor (W9).
 */

import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

import { fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import type { ProductLine } from '../../../attestation/sev-snp/product.ts';
import { tcbEncodingOf, type Tcb } from '../../../attestation/sev-snp/tcb.ts';
import { authorityKeyIdentifier, extension, keyIdentifier, publicKeyOf } from './certificate-parts.ts';
import * as der from './der-writer.ts';
import { certificateOf, nameOf, pssAlgorithm, signed } from './sev-snp-certificates.ts';

const RSA_BITS = 4096;
const DAY_SECONDS = 86_400;
const AUTHORITY_DAYS = 20 * 365;
const CHIP_KEY_DAYS = 7 * 365;
const PROVIDER_KEY_DAYS = 365;
const LIST_DAYS = 365;
/** Room for verifiers whose clock is a little behind. */
const CLOCK_SKEW_SECONDS = 3600;

/** First serial number of each line's hierarchy, as AMD counts them. */
const SERIALS: Readonly<Record<ProductLine, number>> = { Milan: 0x10000, Genoa: 0x20000, Turin: 0x30000 };

/** product_name in the certificate of a chip; AMD writes the stepping for Milan alone. */
const PRODUCT_NAMES: Readonly<Record<ProductLine, string>> = {
  Milan: 'Milan-B0',
  Genoa: 'Genoa',
  Turin: 'Turin',
};

type Role = 'ark' | 'ask' | 'asvk';

interface Issuer {
  readonly key: KeyObject;
  /** DER. */
  readonly certificate: Uint8Array;
}

/** What a certificate says of the key of a chip or a provider. */
export interface KeyCertificate {
  /** The firmware from which the key was derived. */
  readonly tcb: Tcb;
  /** SubjectPublicKeyInfo of a P-384 key, DER. */
  readonly publicKey: Uint8Array;
}

export interface RevocationListOptions {
  /** cRLNumber. */
  readonly number?: number;
  /** POSIX seconds; the time of making by default. */
  readonly thisUpdate?: number;
  readonly nextUpdate?: number;
  /** Which intermediates are revoked. */
  readonly revoked?: readonly ('ask' | 'asvk')[];
}

const generate = promisify(generateKeyPair);

export class SimulatedAmd {
  readonly line: ProductLine;
  /** POSIX seconds. */
  private readonly madeAt: number;
  private readonly issuers: Readonly<Record<Role, Issuer>>;

  private constructor(line: ProductLine, madeAt: number, issuers: Readonly<Record<Role, Issuer>>) {
    this.line = line;
    this.madeAt = madeAt;
    this.issuers = issuers;
  }

  /** Makes a hierarchy with keys of its own: some seconds of work. @param posixSeconds the present */
  static async create(line: ProductLine, posixSeconds: number): Promise<SimulatedAmd> {
    const [ark, ask, asvk] = await Promise.all([rsaKey(), rsaKey(), rsaKey()]);
    return SimulatedAmd.ofKeys(line, posixSeconds, { ark, ask, asvk });
  }

  /** Certifies a hierarchy of RSA keys of 4096 bits, which must be three. */
  static ofKeys(
    line: ProductLine,
    posixSeconds: number,
    { ark, ask, asvk }: Readonly<Record<Role, KeyObject>>,
  ): SimulatedAmd {
    const certify = (role: Role, key: KeyObject): Issuer => ({
      key,
      certificate: authorityCertificate(role, line, posixSeconds, key, ark),
    });
    const issuers = { ark: certify('ark', ark), ask: certify('ask', ask), asvk: certify('asvk', asvk) };
    return new SimulatedAmd(line, posixSeconds, issuers);
  }

  /** The root, DER: what an evaluation server takes as an anchor. */
  get root(): Uint8Array {
    return this.issuers.ark.certificate;
  }

  /** The intermediate that certifies keys of chips (ASK) or of providers (ASVK), DER. */
  intermediate(kind: 'vcek' | 'vlek'): Uint8Array {
    return this.issuers[kind === 'vcek' ? 'ask' : 'asvk'].certificate;
  }

  /** The certificate of a chip's key. @param hardwareId 64 bytes, 8 for Turin */
  certifyChip({ tcb, publicKey }: KeyCertificate, hardwareId: Uint8Array): Uint8Array {
    const extensions = [
      ...this.keyExtensions(PRODUCT_NAMES[this.line], tcb),
      extension(`${AMD}.4`, hardwareId),
    ];
    return this.certifyKey('ask', 'SEV-VCEK', CHIP_KEY_DAYS, publicKey, extensions);
  }

  /** The certificate of a cloud provider's key. @param provider csp_id, for example `CN=cc.cloud.example` */
  certifyProvider({ tcb, publicKey }: KeyCertificate, provider: string): Uint8Array {
    const extensions = [
      ...this.keyExtensions(this.line, tcb),
      extension(`${AMD}.5`, der.toDer(der.ia5Text(provider))),
    ];
    return this.certifyKey('asvk', 'SEV-VLEK', PROVIDER_KEY_DAYS, publicKey, extensions);
  }

  /** The list of revoked intermediates, signed by the root, DER. */
  revocationList(options: RevocationListOptions = {}): Uint8Array {
    const thisUpdate = options.thisUpdate ?? this.madeAt - CLOCK_SKEW_SECONDS;
    const nextUpdate = options.nextUpdate ?? thisUpdate + LIST_DAYS * DAY_SECONDS;
    const entries = (options.revoked ?? []).map((role) =>
      der.sequence(der.integer(serialOf(role, this.line)), der.utcTime(thisUpdate)),
    );
    const number = extension('2.5.29.20', der.toDer(der.integer(options.number ?? 1)));
    const list = der.sequence(
      der.integer(1),
      pssAlgorithm(),
      nameOf(commonNameOf('ark', this.line)),
      der.utcTime(thisUpdate),
      der.utcTime(nextUpdate),
      ...(entries.length === 0 ? [] : [der.sequence(...entries)]),
      der.explicit(0, der.sequence(authorityKeyIdentifier(this.issuers.ark.key), number)),
    );
    return signed(list, this.issuers.ark.key);
  }

  /** Everything, private keys included, as JSON that {@link restore} reads. */
  save(): Record<string, string | number> {
    const members = Object.entries(this.issuers).flatMap(([role, { key, certificate }]) => [
      [`${role}Key`, toBase64(key.export({ type: 'pkcs8', format: 'der' }))],
      [`${role}Certificate`, toBase64(certificate)],
    ]);
    return {
      line: this.line,
      madeAt: this.madeAt,
      ...(Object.fromEntries(members) as Record<string, string>),
    };
  }

  static restore(saved: SavedAmd): SimulatedAmd {
    const issuerOf = (role: Role): Issuer => ({
      key: createPrivateKey({
        key: Buffer.from(saved[`${role}Key`], 'base64'),
        type: 'pkcs8',
        format: 'der',
      }),
      certificate: fromBase64(saved[`${role}Certificate`], `${role}Certificate`),
    });
    const issuers = { ark: issuerOf('ark'), ask: issuerOf('ask'), asvk: issuerOf('asvk') };
    return new SimulatedAmd(saved.line, saved.madeAt, issuers);
  }

  /** AMD 57230, the extensions that name the firmware; their order is that of AMD's own certificates. */
  private keyExtensions(productName: string, tcb: Tcb): readonly der.DerValue[] {
    const isTurin = tcbEncodingOf(this.line) === 'turin';
    const level = (suffix: string, value: number): der.DerValue =>
      extension(`${AMD}.3.${suffix}`, der.toDer(der.integer(value)));
    const unused = ['5', '6', '7'].map((suffix) => level(suffix, 0));
    const levels = isTurin
      ? [
          level('9', tcb.fmc ?? 0),
          level('1', tcb.bootLoader),
          level('2', tcb.tee),
          level('3', tcb.snp),
          ...unused,
        ]
      : [level('1', tcb.bootLoader), level('2', tcb.tee), level('4', 0), ...unused, level('3', tcb.snp)];
    return [
      extension(`${AMD}.1`, der.toDer(der.integer(isTurin ? 1 : 0))),
      extension(`${AMD}.2`, der.toDer(der.ia5Text(productName))),
      ...levels,
      level('8', tcb.microcode),
    ];
  }

  private certifyKey(
    role: 'ask' | 'asvk',
    subject: string,
    days: number,
    publicKey: Uint8Array,
    extensions: readonly der.DerValue[],
  ): Uint8Array {
    return certificateOf({
      // Zero on every certificate of this kind.
      serial: 0,
      issuer: commonNameOf(role, this.line),
      subject,
      ...validity(this.madeAt, days),
      publicKey,
      extensions,
      signer: this.issuers[role].key,
    });
  }
}

/** What {@link SimulatedAmd.save} writes. */
export interface SavedAmd {
  readonly line: ProductLine;
  readonly madeAt: number;
  readonly arkKey: string;
  readonly arkCertificate: string;
  readonly askKey: string;
  readonly askCertificate: string;
  readonly asvkKey: string;
  readonly asvkCertificate: string;
}

/** Arc of AMD's extensions. */
const AMD = '1.3.6.1.4.1.3704.1';

async function rsaKey(): Promise<KeyObject> {
  return (await generate('rsa', { modulusLength: RSA_BITS, publicExponent: 65537 })).privateKey;
}

function serialOf(role: Role, line: ProductLine): number {
  return SERIALS[line] + { ark: 0, ask: 1, asvk: 0x101 }[role];
}

function commonNameOf(role: Role, line: ProductLine): string {
  return { ark: `ARK-${line}`, ask: `SEV-${line}`, asvk: `SEV-VLEK-${line}` }[role];
}

function authorityCertificate(
  role: Role,
  line: ProductLine,
  posixSeconds: number,
  key: KeyObject,
  rootKey: KeyObject,
): Uint8Array {
  const publicKey = publicKeyOf(key);
  const isRoot = role === 'ark';
  const usage = isRoot ? der.bitString(Uint8Array.of(0x06), 1) : der.bitString(Uint8Array.of(0x04), 2);
  const constraints = isRoot ? [der.boolean(true)] : [der.boolean(true), der.integer(0)];
  return certificateOf({
    serial: serialOf(role, line),
    issuer: commonNameOf('ark', line),
    subject: commonNameOf(role, line),
    ...validity(posixSeconds, AUTHORITY_DAYS),
    publicKey,
    extensions: [
      extension('2.5.29.15', der.toDer(usage), true),
      extension('2.5.29.14', der.toDer(der.octetString(keyIdentifier(publicKey)))),
      ...(isRoot ? [] : [authorityKeyIdentifier(rootKey)]),
      extension('2.5.29.19', der.toDer(der.sequence(...constraints)), true),
    ],
    signer: rootKey,
  });
}

function validity(madeAt: number, days: number): { readonly notBefore: number; readonly notAfter: number } {
  return { notBefore: madeAt - CLOCK_SKEW_SECONDS, notAfter: madeAt + days * DAY_SECONDS };
}
