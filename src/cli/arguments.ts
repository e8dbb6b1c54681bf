/** Arguments of commands, checked before anything is asked for, opened or made. All throw `InvalidArgumentError`. */

import { isIP } from 'node:net';

import { InvalidArgumentError } from 'commander';
import type { z } from 'zod';

import {
  deviceClassField,
  digestField,
  displayNameField,
  identifierField,
  jurisdictionField,
  originField,
  reasonField,
} from '../governance/fields.ts';
import type { Machine } from '../governance/predicates.ts';

type Parser = (text: string) => string;

/** An argument that becomes a member of a document. */
function argumentOf(field: z.ZodType<string>, description: string): Parser {
  return (text) => {
    if (field.safeParse(text).success) return text;
    throw new InvalidArgumentError(`It must be ${description}.`);
  };
}

export const identifierArgument = argumentOf(
  identifierField,
  'at most 127 letters, digits and . _ @ + -, beginning with a letter or digit',
);
export const digestArgument = argumentOf(digestField, 'a SHA-256 digest: 64 lower-case hexadecimal digits');
export const displayNameArgument = argumentOf(displayNameField, 'a name of 1 to 200 characters');
export const reasonArgument = argumentOf(reasonField, 'a text of 1 to 2000 characters');
export const purposeArgument = argumentOf(displayNameField, 'a text of 1 to 200 characters');
export const jurisdictionArgument = argumentOf(jurisdictionField, 'two capital letters, for example CH');
export const originArgument = argumentOf(
  originField,
  'a name like log.example.org/weights, without scheme and spaces',
);

/** For options that may be given several times. */
export function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value];
}

export function collectDigests(text: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, digestArgument(text)];
}

export function collectIdentifiers(text: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, identifierArgument(text)];
}

const HOST_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*$/;

export function collectHosts(text: string, earlier: readonly string[] = []): readonly string[] {
  if (isIP(text) === 0 && !HOST_NAME.test(text)) {
    throw new InvalidArgumentError('It must be a DNS name or an address.');
  }
  return [...earlier, text];
}

export function parsePositiveInteger(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a positive whole number.');
  return Number(text);
}

export interface Pair {
  readonly name: string;
  readonly value: string;
}

function parsePair(text: string): Pair {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError('It must be name=value.');
  return { name: identifierArgument(text.slice(0, at)), value: text.slice(at + 1) };
}

/** `name=file`, several times. */
export function collectFiles(text: string, earlier: readonly Pair[] = []): readonly Pair[] {
  return [...earlier, parsePair(text)];
}

/** `name=digest` for a TPM, `name=class:digest` for any other device, several times. */
export function collectMachines(text: string, earlier: readonly Machine[] = []): readonly Machine[] {
  const { name, value } = parsePair(text);
  const colon = value.indexOf(':');
  if (colon < 0) return [...earlier, { name, endorsementKeyDigest: digestArgument(value) }];
  const deviceClass = value.slice(0, colon);
  if (!deviceClassField.safeParse(deviceClass).success || deviceClass === 'tpm') {
    throw new InvalidArgumentError('It must be name=digest, or name=class:digest as in sev-snp:….');
  }
  return [...earlier, { name, deviceClass, identity: digestArgument(value.slice(colon + 1)) }];
}

export interface ListenAddress {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
}

/** `host:port`, with an IPv6 address in brackets. */
export function parseListen(text: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > 65_535) throw new InvalidArgumentError('It must be host:port.');
  return { host, port };
}
