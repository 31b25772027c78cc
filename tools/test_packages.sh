#!/usr/bin/env bash
# Install the system packages that the tests use and that are missing: espeak-ng, Debian's recorded Asterisk prompts, browsers, a sound server.
set -euo pipefail
missing=()
command -v espeak-ng >/dev/null || missing+=(espeak-ng)
[ -d /usr/share/asterisk/sounds/en_US_f_Allison ] && compgen -G '/usr/share/asterisk/sounds/en_US_f_Allison/*.wav' >/dev/null || missing+=(asterisk-core-sounds-en-wav)
compgen -G '/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt*' >/dev/null || missing+=(asterisk-core-sounds-en)
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
root_apt=false
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then root_apt=true; fi
if [ -z "$browser" ] && $root_apt; then missing+=(chromium); fi
# Firefox, and a sound server that gives it a microphone: without them, and without the right to install, those tests are skipped.
# Chromium's headless shell saves a fifth of the browser tests' processor time.
if $root_apt; then
    command -v chromium-headless-shell >/dev/null || missing+=(chromium-headless-shell)
    command -v firefox-esr >/dev/null || command -v firefox >/dev/null || missing+=(firefox-esr)
    command -v pulseaudio >/dev/null || missing+=(pulseaudio)
    command -v paplay >/dev/null || missing+=(pulseaudio-utils)
fi
if [ ${#missing[@]} -gt 0 ]; then
    if ! $root_apt; then
        echo "The tests need these system packages: ${missing[*]}. Install them (on Debian or Ubuntu: sudo apt-get install ${missing[*]}) and run make test again." >&2
        exit 1
    fi
    echo "Installing for the tests: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq </dev/null
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
fi
if [ -z "$browser" ] && ! $root_apt; then python -m playwright install chromium; fi
