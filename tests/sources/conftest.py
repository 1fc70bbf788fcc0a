"""The scripted site for this folder's tests."""

from tests.http.fake_site import site as site
