/** Addresses of mirrors, and to which others a mirror may send its callers (SW-33, SW-38, SW-39). */

import { excerpt } from '../../../attestation/core/bytes.ts';
import { sourceMalformed, sourceUsage } from './refusals.ts';

const SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i;
const WEB_PROTOCOLS: readonly string[] = ['https:', 'http:'];
const TOKEN = /^[\x21-\x7e]{1,4096}$/;

/** Whether what an operator named is an address and not a folder; it may still be one that cannot be used. */
export function isAddress(location: string): boolean {
  return SCHEME.test(location);
}

/** @throws RefusalError `source-address` */
export function parseAddress(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && isPlain(url) && url.search === '' && !text.includes('#') && !text.includes('?'))
    return url;
  throw sourceUsage.error('source-address', {
    field: 'bundle',
    expected: 'an http or https address without user, query and fragment',
    found: url === null || hasUser(url) ? 'another text' : excerpt(text),
  });
}

function hasUser(url: URL): boolean {
  return url.username !== '' || url.password !== '';
}

function isPlain(url: URL): boolean {
  return WEB_PROTOCOLS.includes(url.protocol) && !hasUser(url);
}

/** @throws RefusalError `source-credential` */
export function checkToken(base: URL, token: string): void {
  const isSafe = base.protocol === 'https:' || isLoopback(base);
  if (isSafe && TOKEN.test(token)) return;
  throw sourceUsage.error('source-credential', {
    field: 'token',
    expected: isSafe ? 'printable characters without spaces' : 'an https address',
    found: isSafe ? 'others' : base.protocol.slice(0, -1),
  });
}

/** @param path of the manifest, so without segments that lead elsewhere (SW-2) */
export function fileAddress(base: URL, path: string): URL {
  const segments = path.split('/').map(encodeSegment);
  return new URL([base.href.replace(/\/+$/, ''), ...segments].join('/'));
}

function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Host names as URL writes them. The unspecified addresses lead to this machine too. */
const LOOPBACK =
  /^(?:(?:.+\.)?localhost|127\.[0-9.]+|0\.0\.0\.0|\[::1?\]|\[::ffff:(?:7f[0-9a-f]{2}:[0-9a-f]+|0:0)\])$/;

export function isLoopback({ hostname }: URL): boolean {
  return LOOPBACK.test(hostname);
}

/**
 * Where a redirection leads.
 *
 * @param location the header; the mirror controls it
 * @throws RefusalError `source-redirect`
 */
export function followRedirect(from: URL, location: string | undefined): URL {
  const to = URL.parse(location ?? '', from.href);
  if (location === undefined || to === null) return refuseRedirect(from, 'no address');
  if (!isPlain(to)) return refuseRedirect(from, `${to.protocol}//${to.host}, or a user in it`);
  if (isLoopback(to) && !isLoopback(from)) return refuseRedirect(from, 'an address of this machine');
  if (from.protocol === 'https:' && to.protocol === 'http:' && !isLoopback(to)) {
    return refuseRedirect(from, `http://${to.host}`);
  }
  return to;
}

function refuseRedirect(from: URL, found: string): never {
  throw sourceMalformed.error('source-redirect', {
    field: from.host,
    expected: 'an address as safe as the one before',
    found: excerpt(found),
  });
}
