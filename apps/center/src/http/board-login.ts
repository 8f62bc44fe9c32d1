/**
 * Browsers at /board: the token is posted once and becomes a cookie that holds no token, only the sealed hash of one and an
 * end. Taking the token away ends its cookies too, since each request looks the hash up.
 */
import type { Context } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { Refusal } from '../services/refusal.ts';
import { findToken, findTokenByHash } from './auth.ts';
import type { AppDeps, AppEnv } from './deps.ts';
import type { App } from './endpoint.ts';

const COOKIE = 'openservice_board';
const SESSION_MS = 12 * 3600_000;
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";

const form = (message: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>openservice board</title>
<style>body{font:16px sans-serif;max-width:24rem;margin:15vh auto;padding:0 1rem}input,button{font:inherit;width:100%;padding:.5rem;margin:.5rem 0;box-sizing:border-box}p{color:#a00}</style>
</head>
<body>
<h1>openservice board</h1>
<form method="post" action="/board/login">
<label>Token<input type="password" name="token" autocomplete="off" autofocus required></label>
<button>Log in</button>
</form>
<p>${message}</p>
</body>
</html>
`;

export function boardLogin(app: App, deps: AppDeps): void {
  app.get('/board/login', (c) => page(c, '', 200));
  app.post('/board/login', async (c) => {
    const { token } = await c.req.parseBody();
    const known = typeof token === 'string' && token !== '' ? await findToken(deps.database, token.trim()) : null;
    if (known === null) return page(c, 'This token is not valid.', 401);
    const value = deps.secrets.seal(`board ${known.token_hash} ${Date.now() + SESSION_MS}`);
    const secure = new URL(c.req.url).protocol === 'https:' || c.req.header('X-Forwarded-Proto') === 'https';
    setCookie(c, COOKIE, value, { httpOnly: true, sameSite: 'Strict', path: '/board', maxAge: SESSION_MS / 1000, secure });
    return c.redirect('/board', 303);
  });
  app.post('/board/logout', (c) => {
    deleteCookie(c, COOKIE, { path: '/board' });
    return c.redirect('/board/login', 303);
  });
}

function page(c: Context, message: string, status: 200 | 401): Response | Promise<Response> {
  return c.html(form(message), status, { 'Content-Security-Policy': POLICY, 'Cache-Control': 'no-store' });
}

/** True when the request carries a valid cookie of ours or a bearer token. */
export async function mayReadBoard(c: Context<AppEnv>, deps: AppDeps): Promise<boolean> {
  const bearer = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(c.req.header('Authorization') ?? '');
  if (bearer !== null) return (await findToken(deps.database, bearer[1]!)) !== null;
  const hash = hashInCookie(getCookie(c, COOKIE), deps);
  return hash !== null && (await findTokenByHash(deps.database, hash)) !== null;
}

function hashInCookie(value: string | undefined, deps: AppDeps): string | null {
  if (value === undefined) return null;
  let opened: string;
  try {
    opened = deps.secrets.open(value);
  } catch {
    return null; // forged, or sealed under a former key: as good as no cookie
  }
  const match = /^board ([0-9a-f]{64}) ([0-9]{1,16})$/.exec(opened);
  return match !== null && Number(match[2]) > Date.now() ? match[1]! : null;
}

/** People are sent to the form; programs are told what is missing. */
export function askToLogIn(c: Context): Response {
  if (c.req.header('Accept')?.includes('text/html')) return c.redirect('/board/login', 303);
  throw new Refusal('unauthorized', 'Log in at /board/login, or send "Authorization: Bearer <token>".');
}
